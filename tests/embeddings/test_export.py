"""Exported models load without torch and give the vectors of their checkpoints."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from lmm_classifier import HybridClassifier, PipelineConfig, build_index_from_directory
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings import export
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.export import export_encoder
from lmm_classifier.embeddings.exported_model import write_description
from lmm_classifier.embeddings.preprocessing import Preprocessing
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.embeddings.transformers import TransformersEncoder
from tests.helpers.datasets import LABELS, draw_dataset
from tests.helpers.tiny_qwen2_vl import CHECKPOINT

FORMS = ["openvino", "onnx"]
ONE_FORM = [FORMS[0], *(pytest.param(form, marks=pytest.mark.long) for form in FORMS[1:])]


def images():
    rng = np.random.default_rng(3)
    sizes = [(120, 50), (50, 121), (56, 56), (400, 300)]
    return [draw(KNOWN[n], rng, 128).resize(size, Image.Resampling.BICUBIC) for n, size in enumerate(sizes)]


def opened(form, folder, **options):
    return open_encoder(EncoderConfig(backend=form, model=str(folder), **options))


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("siglip", "openvino"),
        pytest.param("siglip", "onnx", marks=pytest.mark.long),
        pytest.param("clip", "openvino", marks=pytest.mark.long),
    ],
)
def test_an_export_gives_the_vectors_of_transformers(exported, tiny_encoder, kind, form):
    """Cosine >= 0.9999 with the library's own processing and forward pass, and the fingerprint of the checkpoint."""
    reference = TransformersEncoder(str(tiny_encoder(kind)), dtype="float32", device="cpu")
    encoder = opened(form, exported(kind, form), dtype="float32")
    rows = encode_images(encoder, images())
    assert (rows * reference.encode_as_transformers(images())).sum(axis=1).min() >= 0.9999
    assert encoder.fingerprint == reference.fingerprint
    described = yaml.safe_load((exported(kind, form) / "model.yaml").read_text())
    assert described["source"]["cosines"]["float32"] >= 0.9999


@pytest.mark.long
def test_a_checkpoint_is_converted_once(tiny_encoder, tmp_path):
    """The second opening uses the model that the first one stored; other weights have another folder."""
    first = opened("openvino", tiny_encoder("siglip"), converted_dir=tmp_path)
    (model,) = tmp_path.glob("*/model.xml")
    written = model.stat().st_mtime_ns
    again = opened("openvino", tiny_encoder("siglip"), converted_dir=tmp_path)
    assert model.stat().st_mtime_ns == written
    np.testing.assert_array_equal(encode_images(first, images()), encode_images(again, images()))
    assert export._identity(tiny_encoder("siglip", seed=1), "auto") != export._identity(tiny_encoder("siglip"), "auto")


@pytest.mark.parametrize("form", ONE_FORM)
def test_an_index_of_the_checkpoint_works_with_its_export(exported, tiny_encoder, tmp_path, form):
    """An index built with torch gives the same labels with OpenVINO and ONNX Runtime."""
    dataset = draw_dataset(tmp_path / "dataset", LABELS[:3], 4, size=48)
    config = PipelineConfig(encoder={"model": str(tiny_encoder("siglip")), "dtype": "float32", "device": "cpu"})
    config.retrieval.index_path, config.rerank.enabled = tmp_path / "index", False
    build_index_from_directory(dataset, tmp_path / "index", config=config)
    expected = [result.label for result in HybridClassifier(config).classify_many(images())]
    config.encoder.backend, config.encoder.model = form, str(exported("siglip", form))
    assert [result.label for result in HybridClassifier(config).classify_many(images())] == expected


@pytest.mark.long
@pytest.mark.parametrize("form", ONE_FORM)
def test_classifying_with_an_export_loads_no_torch(exported, tiny_encoder, tmp_path, form):
    """The command classifies one image of a built index and imports neither torch nor transformers."""
    dataset = draw_dataset(tmp_path / "dataset", LABELS[:2], 3)
    options = ["--set", f"encoder.backend={form}", "--set", f"encoder.model={exported('siglip', form)}"]
    options += ["--set", f"rerank.model_name={CHECKPOINT}"]  # it is opened, but never asked
    options += ["--set", "retrieval.confidence_threshold=0.0", "--set", "retrieval.open_set_threshold=-1"]
    index = str(tmp_path / "index")
    config = PipelineConfig(encoder={"backend": form, "model": str(exported("siglip", form))})
    build_index_from_directory(dataset, index, config=config)
    image = next(dataset.rglob("*.png"))
    code = (
        "import sys\nfrom lmm_classifier.cli.app import main\n"
        f"sys.argv[1:] = {['classify', str(image), '--index', index, '--format', 'jsonl', *options]!r}\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["label"] == image.parent.name


@pytest.mark.long
def test_the_command_as_a_user_types_it(tiny_encoder, tmp_path):
    """It prints the least cosine and how to use the folder; a folder in use is not changed."""
    command = [sys.executable, "-m", "lmm_classifier", "export-encoder", "onnx", "--output", str(tmp_path / "out")]
    command += ["--set", f"encoder.model={tiny_encoder('siglip')}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "with transformers" in done.stdout
    assert "encoder.backend=onnx" in done.stdout
    assert {file.suffix for file in (tmp_path / "out").iterdir()} >= {".onnx", ".yaml"}
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "is not changed" in again.stderr


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "pooling"), [("dinov2", "auto"), ("dinov3_vit", "mean"), ("aimv2", "auto")])
def test_other_types_and_poolings_are_exported(tmp_path, kind, pooling, form):
    """The export has the fingerprint of the checkpoint with the same pooling, and its vectors."""
    from tests.fixtures.make_tiny_towers import make

    (tmp_path / kind).mkdir()
    folder = make(kind, tmp_path / kind)
    export_encoder(str(folder), tmp_path / "out", form, pooling=pooling)
    reference = TransformersEncoder(str(folder), dtype="float32", device="cpu", pooling=pooling)
    encoder = opened(form, tmp_path / "out", dtype="float32")
    assert encoder.fingerprint == reference.fingerprint
    assert (encode_images(encoder, images()) * encode_images(reference, images())).sum(axis=1).min() >= 0.9999


def test_a_model_that_cannot_be_converted(tiny_encoder, tmp_path, monkeypatch):
    """A fault of the converter is an error of this package, and nothing is left behind."""

    def failing(*_):
        raise RuntimeError("no such operation\nwith details")

    monkeypatch.setattr(export, "_write_onnx", failing)
    with pytest.raises(EncoderError, match="cannot be converted to onnx: no such operation$"):
        export_encoder(str(tiny_encoder("siglip")), tmp_path / "out", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_free_aspect_cannot_be_exported(tiny_encoder, tmp_path):
    """SigLIP 2 with free aspect has no single input size, so it cannot be exported."""
    with pytest.raises(EncoderError, match="free aspect"):
        export_encoder(str(tiny_encoder("siglip2")), tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_model_that_gives_other_vectors_is_refused(exported, tiny_encoder):
    """The comparison detects an export of other weights."""
    other = TransformersEncoder(str(tiny_encoder("siglip", seed=1)), dtype="float32", device="cpu")
    with pytest.raises(EncoderError, match="gives other vectors"):
        export._compare(other, exported("siglip", "openvino") / "model.xml", "openvino")


def test_a_changed_export_is_refused(exported, tmp_path):
    """The description has a digest of the exported files and of itself: one bit of either is noticed."""
    folder = shutil.copytree(exported("siglip", "openvino"), tmp_path / "copy")
    opened("openvino", folder)
    data = bytearray((folder / "model.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.bin").write_bytes(data)
    with pytest.raises(EncoderError, match="changed since the model was exported"):
        opened("openvino", folder)


@pytest.mark.parametrize(("key", "value"), [("resample", "nearest"), ("size", [48, 48]), ("fit", "crop")])
def test_a_changed_description_of_an_export_is_refused(exported, tmp_path, key, value):
    """Its vectors would differ, but they would count as those of the checkpoint."""
    folder = shutil.copytree(exported("siglip", "openvino"), tmp_path / "copy")
    described = yaml.safe_load((folder / "model.yaml").read_text())
    assert described.get(key) != value
    (folder / "model.yaml").write_text(yaml.safe_dump({**described, key: value}))
    with pytest.raises(EncoderError, match="changed since the model was exported"):
        opened("openvino", folder)


def test_a_missing_checkpoint(tmp_path):
    """The error says which values encoder.model can have."""
    with pytest.raises(EncoderError, match=r"hub name or folder.*export-encoder"):
        opened("openvino", "google/nothing", cache_dir=tmp_path)
    with pytest.raises(EncoderError, match=r"encoder\.device is 'cuda'"):
        opened("openvino", "google/nothing", device="cuda")


@pytest.mark.long
def test_an_incomplete_conversion_is_repeated(tiny_encoder, exported, tmp_path):
    """A converted model without its description is converted again; the error names a folder that is not writable."""
    converted = tmp_path / f"{tiny_encoder('siglip').name}-{export._identity(tiny_encoder('siglip'), 'auto')}"
    converted.mkdir()
    (converted / "model.xml").write_text("half")
    assert opened("openvino", tiny_encoder("siglip"), converted_dir=tmp_path).fingerprint.dim == 64
    (tmp_path / "file").touch()
    with pytest.raises(EncoderError, match=r"encoder\.converted_dir"):
        opened("openvino", tiny_encoder("siglip"), converted_dir=tmp_path / "file")
    with pytest.raises(EncoderError, match=r"encoder\.device is 'cuda'"):
        opened("openvino", exported("siglip", "openvino"), device="cuda")


def test_bfloat16_is_used_only_where_its_vectors_are_the_same(exported, tmp_path):
    """An export whose bfloat16 vectors differ too much from the checkpoint's is computed in float32."""
    folder = shutil.copytree(exported("siglip", "openvino"), tmp_path / "copy")
    description = Preprocessing.from_yaml(folder / "model.yaml")
    cosines = {**description.source.cosines, "bfloat16": 0.99}
    source = description.source.model_copy(update={"cosines": cosines})
    write_description(description.model_copy(update={"source": source}), folder / "model.xml")
    assert opened("openvino", folder).fingerprint.dtype == "float32"
