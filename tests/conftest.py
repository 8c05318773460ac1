"""Set-up of all tests: no network, few threads, tiny checkpoints of the real architectures."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# several test processes share the processors; a test about numbers of threads sets them itself
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import hashlib
import json
import shutil
import signal
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings as property_settings

from lmm_classifier.embeddings.encode_images import encode_images
from tests.helpers.paths import SHARED

# without stored bytecode each process, also of a command that a test starts, compiles the package and the tests again
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# no test depends on time: the machine may do something else
property_settings.register_profile("untimed", deadline=None)
property_settings.load_profile("untimed")

# whoever started the tests may ignore signals, as `nohup` does; then each child would ignore them too
for _name, _handler in (
    ("SIGINT", signal.default_int_handler),
    ("SIGTERM", signal.SIG_DFL),
    ("SIGHUP", signal.SIG_DFL),
):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _handler)


@pytest.hookimpl(optionalhook=True)  # pytest also runs without xdist
def pytest_xdist_auto_num_workers():
    """One more than there are processors: tests also wait, for disks, servers and a browser."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Take what the collection makes out of each garbage collection: 7000 tests and libraries such as torch.

    The little garbage among it stays too: to look for it takes each process most of a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


MOBILENET = """size: 224
fit: crop
resize: 256
resample: bilinear
mean: [0.5, 0.5, 0.5]
std: [0.5, 0.5, 0.5]
"""


@dataclass(frozen=True)
class Vectors:
    """Encoded photographs: normalized embeddings and labels, of a dataset and of new images."""

    train: np.ndarray
    train_labels: list[str]
    new: np.ndarray
    new_labels: list[str]


@pytest.fixture(scope="session")
def shared():
    """The folder of real images and models next to the checkout; tests that need it are skipped without it."""
    if not (SHARED / "data" / "clothing").is_dir():
        pytest.skip("the real images and models are not next to this checkout")
    return SHARED


@pytest.fixture(scope="session")
def made_once(request, tmp_path_factory):
    """Return a function that returns the folder of a name, and first calls `fill` with a new path to make it.

    All processes of one run of the tests share the folder, so a test may change only copies of it.
    """
    root = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # one of several
        root = root.parent  # the processes of one run share it
    root = root / "made_once"

    def once(name, fill):
        root.mkdir(exist_ok=True)
        folder = root / name
        with FileLock(root / f"{name}.lock"):
            if not folder.exists():
                shutil.rmtree(root / f"{name}.part", ignore_errors=True)  # of a test that failed or was ended
                fill(root / f"{name}.part")
                (root / f"{name}.part").rename(folder)
        return folder

    return once


@pytest.fixture(scope="session")
def tiny_encoder(made_once):
    """Return a function that makes a tiny checkpoint, once each: siglip, siglip2 or clip."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from tests.fixtures.make_tiny_encoders import make

    def checkpoint(kind, seed=0, hub_layout=False):
        name = f"{kind}-{seed}-hub" if hub_layout else f"{kind}-{seed}"
        return made_once(name, lambda folder: make(kind, folder, seed, hub_layout))

    return checkpoint


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory):
    """Return a function that makes a tiny vision-language checkpoint of a model type, once each."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from tests.fixtures.make_tiny_vlms import make_vlm

    folders = {}

    def make_once(kind):
        if kind not in folders:
            folders[kind] = make_vlm(kind, tmp_path_factory.mktemp(kind))
        return folders[kind]

    return make_once


@pytest.fixture(scope="session")
def exported(tiny_encoder, made_once):
    """Return a function that exports a tiny checkpoint, siglip or clip, to openvino or onnx, once each."""
    from lmm_classifier.embeddings.export import export_encoder

    def export(kind, form):
        checkpoint = str(tiny_encoder(kind))
        return made_once(f"{kind}-{form}", lambda folder: export_encoder(checkpoint, folder, form))

    return export


@pytest.fixture(scope="session")
def mobilenet(shared, tmp_path_factory):
    """The real MobileNetV2 as an ONNX file with its preprocessing next to it."""
    folder = tmp_path_factory.mktemp("mobilenet")
    (folder / "model.onnx").symlink_to(shared / "models/mobilenet_v2/model.onnx")
    (folder / "model.yaml").write_text(MOBILENET, encoding="utf-8")
    return folder / "model.onnx"


@pytest.fixture(scope="session")
def clothing_mobilenet(shared, mobilenet, request):
    """Return a function that encodes each n-th clothing photograph by MobileNetV2.

    The embeddings are cached between runs, by model and files.
    """
    from lmm_classifier.data.image_folder import scan_image_folder
    from lmm_classifier.data.images import ImageLimits, read_images
    from lmm_classifier.embeddings.onnx import OnnxEncoder

    def encoded(step):
        encoder = OnnxEncoder(mobilenet)
        folders = [scan_image_folder(shared / "data/clothing" / part) for part in ("train", "validation")]
        parts = [[(folder.root / example.path, example) for example in folder.examples[::step]] for folder in folders]
        key = json.dumps([str(encoder.fingerprint), *([example.path for _, example in part] for part in parts)])
        name = f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        cached = request.config.cache.mkdir("clothing_mobilenet") / name
        if not cached.exists():
            arrays = []
            for part in parts:
                images = read_images([file for file, _ in part], ImageLimits(), None, 2)
                arrays.append(np.concatenate([encode_images(encoder, [image.image]) for image in images]))
            np.savez(cached, train=arrays[0], new=arrays[1])
        labels = [[example.label for _, example in part] for part in parts]
        with np.load(cached) as arrays:
            return Vectors(arrays["train"], labels[0], arrays["new"], labels[1])

    return encoded
