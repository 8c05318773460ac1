"""What the tests share: no network, few threads, tiny checkpoints of the real architectures."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# several test processes share the processors; what a test says of numbers of threads, it sets itself
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pytest

from tests.helpers.paths import SHARED

MOBILENET = """size: 224
fit: crop
resize: 256
resample: bilinear
mean: [0.5, 0.5, 0.5]
std: [0.5, 0.5, 0.5]
"""


@dataclass(frozen=True)
class Vectors:
    """Encoded photographs: unit rows and their labels, of a corpus and of new pictures."""

    train: np.ndarray
    train_labels: list[str]
    new: np.ndarray
    new_labels: list[str]


@pytest.fixture(scope="session")
def shared():
    """The folder of real pictures and models that lies beside the checkout; tests that need it skip without it."""
    if not (SHARED / "data" / "clothing").is_dir():
        pytest.skip("the real pictures and models are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """Makes (once each) a tiny checkpoint: siglip, siglip2 or clip."""
    from tests.fixtures.make_tiny_encoders import make

    folders = {}

    def made(kind, seed=0):
        if (kind, seed) not in folders:
            folders[kind, seed] = make(kind, tmp_path_factory.mktemp(f"{kind}-{seed}"), seed)
        return folders[kind, seed]

    return made


@pytest.fixture(scope="session")
def exported(tiny_encoder, tmp_path_factory):
    """Exports (once each) a tiny checkpoint, siglip or clip, to openvino or onnx."""
    from lmm_classifier.embeddings.export import export_encoder

    folders = {}

    def made(kind, form):
        if (kind, form) not in folders:
            folders[kind, form] = tmp_path_factory.mktemp(f"{kind}-{form}") / "model"
            export_encoder(str(tiny_encoder(kind)), folders[kind, form], form)
        return folders[kind, form]

    return made


@pytest.fixture(scope="session")
def mobilenet(shared, tmp_path_factory):
    """The real MobileNetV2 as an ONNX file with its preprocessing beside it."""
    folder = tmp_path_factory.mktemp("mobilenet")
    (folder / "model.onnx").symlink_to(shared / "models/mobilenet_v2/model.onnx")
    (folder / "model.yaml").write_text(MOBILENET, encoding="utf-8")
    return folder / "model.onnx"


@pytest.fixture(scope="session")
def clothing_mobilenet(shared, mobilenet, request):
    """Clothing photographs encoded by MobileNetV2 through our encoder; kept between runs, by model and files."""
    from lmm_classifier.data.image_folder import scan_corpus
    from lmm_classifier.data.images import ImageLimits, read_pictures
    from lmm_classifier.embeddings.onnx import OnnxEncoder

    encoder = OnnxEncoder(mobilenet)
    parts = [scan_corpus(shared / "data/clothing" / part) for part in ("train", "validation")]
    named = json.dumps([str(encoder.fingerprint), *([e.path for e in part.examples] for part in parts)])
    kept = request.config.cache.mkdir("clothing_mobilenet") / f"{hashlib.sha256(named.encode()).hexdigest()[:16]}.npz"
    if not kept.exists():
        arrays = []
        for part in parts:
            files = [part.root / example.path for example in part.examples]
            pictures = read_pictures(files, ImageLimits(), None, 2)
            arrays.append(np.concatenate([encoder.encode_images([picture.image]) for picture in pictures]))
        np.savez(kept, train=arrays[0], new=arrays[1])
    labels = [[example.label for example in part.examples] for part in parts]
    with np.load(kept) as arrays:
        return Vectors(arrays["train"], labels[0], arrays["new"], labels[1])
