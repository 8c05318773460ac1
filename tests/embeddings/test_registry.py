"""Encoders are opened by the name of their backend; one backend may have two names."""

import pytest

from lmm_classifier import HybridClassifier, PipelineConfig, build_index_from_directory
from lmm_classifier.core.errors import IndexMismatchError
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.registry import compatible_backends, may_embed_text, open_encoder
from lmm_classifier.pipeline.calibrator import calibrate_index
from tests.helpers.datasets import LABELS, draw_dataset

NAMES = ("transformers", "siglip")


def config_of(folder, index, backend):
    config = PipelineConfig(encoder={"backend": backend, "model": str(folder), "dtype": "float32", "device": "cpu"})
    config.retrieval.index_path, config.rerank.enabled = index, False
    return config


def test_which_vectors_may_be_compared():
    """An export gives those of its checkpoint; both names mean one backend."""
    for name in NAMES:
        assert compatible_backends(name) == ("transformers",)
        assert may_embed_text(name)
    assert compatible_backends("onnx") == ("onnx", "transformers", "lite")
    assert compatible_backends("descriptor") == ("descriptor",)
    assert not may_embed_text("onnx")


def test_both_names_are_one_encoder(tiny_encoder):
    """The default is `transformers`; the fingerprint is the same under both names."""
    folder = str(tiny_encoder("siglip"))
    opened = [open_encoder(EncoderConfig(backend=name, model=folder, dtype="float32")) for name in NAMES]
    assert opened[0].fingerprint == opened[1].fingerprint
    assert EncoderConfig().backend == "transformers"


@pytest.mark.parametrize("built_as", [NAMES[0], pytest.param(NAMES[1], marks=pytest.mark.long)])
def test_an_index_opens_under_both_names(tiny_encoder, tmp_path, built_as):
    """It is built, extended, calibrated and used under either; label names are embedded under both."""
    dataset = draw_dataset(tmp_path / "dataset", LABELS[:3], 4, size=48)
    index = tmp_path / "index"
    build_index_from_directory(dataset, index, config=config_of(tiny_encoder("siglip"), index, built_as))
    for name in NAMES:
        config = config_of(tiny_encoder("siglip"), index, name)
        assert build_index_from_directory(dataset, index, config=config).changes.encoded == 0
        assert any("zero-shot text" in note for note in calibrate_index(index, config).notes)
        with HybridClassifier(config) as classifier:
            assert classifier.encoders[0].fingerprint.backend == "transformers"
    config.encoder.pooling = "cls"
    with pytest.raises(IndexMismatchError, match="preprocessing differ"), HybridClassifier(config) as classifier:
        _ = classifier.encoders
