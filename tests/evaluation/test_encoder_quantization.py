"""An 8-bit encoder is kept only if its answers are those of the encoder, on the images of the index."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier import PipelineConfig, build_index_from_directory
from lmm_classifier.cli.given_configuration import given_configuration
from lmm_classifier.cli.quantize_encoder import _lines
from lmm_classifier.core.errors import CalibrationError, EncoderError, IndexMismatchError
from lmm_classifier.embeddings.quantization import QuantizedLayers
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.evaluation.encoder_quantization import QuantizationReport, quantize_encoder
from lmm_classifier.index.vector_index import Index
from tests.helpers.command_line import run
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.tiny_onnx import write_tiny_onnx

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
REPORT = QuantizationReport(
    Path("out"), "onnx", QuantizedLayers(3, 3), 1000, 0.9, 0.9, 0.0095, 5, 0.999, 0.99, 1.5, 10.0, 3.0, kept=False
)


def test_what_is_allowed():
    """One standard error of accuracy and half a percent of the answers, both inclusive."""
    assert REPORT.agreement == 0.995
    assert REPORT.faults == []
    assert replace(REPORT, accuracy_8bit=0.9 - 0.0095).faults == []
    assert replace(REPORT, accuracy_8bit=0.95).faults == []
    (accuracy,) = replace(REPORT, accuracy_8bit=0.889).faults
    assert accuracy == "the accuracy falls by 1.1 points, expected at most 0.9"
    (changed,) = replace(REPORT, changed=6).faults
    assert changed == "99.4% of the answers stay the same, expected 99.5%"
    assert len(replace(REPORT, changed=6, accuracy_8bit=0.8).faults) == 2


def test_the_advice_can_be_pasted():
    """It names the section of the encoder in a list, and quotes the folder."""
    lines = _lines(replace(REPORT, kept=True, output=Path("my 8 bits"), setting="encoder.0"))
    assert lines[-1].endswith("--set encoder.0.backend=onnx --set 'encoder.0.model=my 8 bits'")
    with given_configuration("my.yaml", None):
        given = _lines(replace(REPORT, kept=True, setting="encoder.0"))[-1]
    assert "build a new index with --config my.yaml --set encoder.0.backend=onnx" in given


def test_all_that_was_tried_and_how_sure_it_is_are_said():
    """The way that failed first too; few images cannot show that 99.5% of the answers stay the same."""
    other = replace(REPORT, layers=QuantizedLayers(49, 49), changed=50)
    text = "\n".join(_lines(replace(REPORT, others=(other,))))
    assert "tried with 8 bits in 49 of 49 layers, not taken: 95.0% of the answers stay the same, expected" in text
    assert "layers with 8 bits: 3 of 3" in text
    for images, is_weak in ((100, True), (599, True), (600, False)):
        assert ("weak evidence" in "\n".join(_lines(replace(REPORT, images=images)))) == is_weak
    assert "differs, 3.0% of new ones may." in "\n".join(_lines(replace(REPORT, images=100)))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A configuration of the tiny encoder."""
    config = PipelineConfig(allow_unknown=False)
    config.encoder.backend, config.rerank.enabled = "onnx", False
    config.encoder.model = str(write_tiny_onnx(tmp_path_factory.mktemp("tiny")))
    return config


def draw_noise(root, count, colors):
    """Draw images of noise around a color, a label for each color."""
    rng = np.random.default_rng(0)
    for label, color in colors.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            noise = np.clip(np.array(color) + rng.normal(0, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noise).save(root / label / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def index(config, tmp_path_factory):
    """An index of colors, which the encoder tells apart."""
    folder = tmp_path_factory.mktemp("quantized")
    colors = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}
    build_index_from_directory(draw_noise(folder / "dataset", 10, colors), folder / "index", config=config)
    return folder / "index"


def test_a_good_one_is_kept(index, config, tmp_path):
    """It opens, its vectors are those that were compared, and the report has the figures of both."""
    output = tmp_path / "made" / "encoder"
    report = quantize_encoder(index, output, config)
    assert report.kept
    assert (report.output, report.form, report.images, report.changed) == (output, "onnx", 30, 0)
    assert report.layers == QuantizedLayers(3, 3)
    assert report.accuracy == report.accuracy_8bit == 1
    assert 0.99 < report.least_cosine <= report.mean_cosine < 1
    assert report.megabytes_8bit > 0
    assert report.speedup > 0
    assert sorted(path.name for path in output.iterdir()) == ["model.onnx", "model.yaml"]
    assert [path.name for path in output.parent.iterdir()] == ["encoder"]
    settings = config.encoder.model_copy(update={"model": str(output)})
    assert open_encoder(settings).fingerprint.model == "tiny.onnx, 8-bit"
    other = config.model_copy(update={"encoder": settings})
    with pytest.raises(IndexMismatchError, match="8-bit"):
        quantize_encoder(index, tmp_path / "again", other)


@pytest.fixture(scope="module")
def hard(config, tmp_path_factory):
    """An index of noise in three labels: there each small change of a vector changes answers."""
    folder = tmp_path_factory.mktemp("hard")
    dataset = draw_noise(folder / "dataset", 40, dict.fromkeys("abc", (128, 128, 128)))
    build_index_from_directory(dataset, folder / "index", config=config)
    return folder / "index"


@pytest.mark.long
def test_one_that_changes_answers_is_not_kept(hard, config, tmp_path):
    """The command prints the figures, exits with 1 and leaves nothing; --keep-anyway keeps it."""
    options = ["--set", f"encoder.model={config.encoder.model}", "--set", "encoder.backend=onnx"]
    command = ["quantize-encoder", hard, "--output", tmp_path / "out", *options]
    done = run(*command, code=1)
    assert "of the answers stay the same, expected 99.5%" in done.stderr
    assert "--keep-anyway" in done.stderr
    assert "layers with 8 bits: " in done.stdout
    assert "not taken: " in done.stdout
    assert "120 images, held out one at a time" in done.stdout
    assert list(tmp_path.iterdir()) == []
    kept = run(*command, "--keep-anyway")
    assert f"encoder.backend=onnx --set encoder.model={tmp_path / 'out'}" in kept.stdout.replace("\n", " ")
    assert (tmp_path / "out" / "model.onnx").is_file()


@pytest.mark.long
def test_what_cannot_be_quantized(index, config, tmp_path):
    """A descriptor, a folder in use and images that are gone or changed have their own errors."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("")
    with pytest.raises(EncoderError, match="exists and is not empty"):
        quantize_encoder(index, tmp_path / "used", config)
    with pytest.raises(EncoderError, match="out cannot be written: .*; choose another folder"):
        quantize_encoder(index, tmp_path / "used" / "file" / "out", config)
    offline = offline_config(tmp_path / "descriptor")
    build_index_from_directory(Path(Index.open(index).manifest.image_root), tmp_path / "descriptor", config=offline)
    with pytest.raises(EncoderError, match="expected one encoder with.*onnx or openvino.*got descriptor"):
        quantize_encoder(tmp_path / "descriptor", tmp_path / "out", offline)
    dataset = draw_dataset(tmp_path / "gone", ("stripes", "gingham"), 3, size=48)
    build_index_from_directory(dataset, tmp_path / "index", config=config)
    for file in sorted(dataset.rglob("*.png"))[1:]:
        file.unlink()
    with pytest.raises(CalibrationError, match="1 images of 1 labels that can be compared"):
        quantize_encoder(tmp_path / "index", tmp_path / "out", config)
    next(dataset.rglob("*.png")).unlink()
    with pytest.raises(CalibrationError, match="no image of .* can be read below"):
        quantize_encoder(tmp_path / "index", tmp_path / "out", config)
    assert not (tmp_path / "out").exists()
