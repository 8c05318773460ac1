"""A classifier takes an index in memory, which has no file to follow or to edit."""

import pickle

import numpy as np
import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError, IndexFileError, IndexMismatchError
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.vector_indexes import write_encoders

LABELS = ["cat"] * 12 + ["dog"] * 11
VECTORS = clustered_embeddings(np.random.default_rng(0), LABELS, 8)


@pytest.fixture
def index():
    return Index.from_vectors(VECTORS, LABELS, encoder="clip@1")


@pytest.fixture
def config(tmp_path):
    config = PipelineConfig.preset("vectors")
    config.retrieval.index_path = tmp_path / "index"
    return config


def test_it_answers_as_the_saved_index(config, index):
    """The same bits; and an index at the configured path plays no part, then or later."""
    with HybridClassifier(config, index=index) as classifier:
        results = classifier.classify_vectors(VECTORS)
        index.save(config.retrieval.index_path)
        assert classifier.classify_vectors(VECTORS) == results
        assert classifier.index is index
        assert (classifier.index_version, classifier.index_lag, classifier.wait_for_index()) == (0, 0.0, True)
        assert pickle.loads(pickle.dumps(classifier)).classify_vectors(VECTORS) == results
        with pytest.raises(IndexFileError, match="in memory, so it cannot be edited. Save it"):
            classifier.editor()
    with HybridClassifier(config) as classifier:
        assert classifier.classify_vectors(VECTORS) == results
        classifier.editor().remove(["00"])
        assert len(classifier.index) == 22


def test_it_can_be_followed_in_the_background(config, index):
    """There is nothing to follow, and that is no error."""
    with HybridClassifier(config, index=index) as classifier:
        classifier.follow_in_background()
        assert len(classifier.classify_vectors(VECTORS)) == 23
        assert classifier.wait_for_index()


def test_an_index_of_another_encoder_is_refused(config, index):
    """As one on disk."""
    with pytest.raises(ConfigError, match="expected an Index, such as Index.from_vectors makes, got str"):
        HybridClassifier(config, index="index")
    config.set("encoder.backend=descriptor")
    with pytest.raises(IndexMismatchError, match="set encoder.backend to 'vectors'"):
        HybridClassifier(config, index=index)


def test_its_search_graph_is_not_stored(config, index):
    """The durable index at the configured path is another one, and stays as it is."""
    pytest.importorskip("faiss", reason="faiss is not installed")
    Index.from_vectors(VECTORS[::-1].copy(), LABELS, encoder="clip@1").save(config.retrieval.index_path)
    config.set("retrieval.search=ann")
    with HybridClassifier(config):
        pass
    before = {file: file.read_bytes() for file in config.retrieval.index_path.rglob("*") if file.is_file()}
    assert any("graph" in file.name or "hnsw" in file.name for file in before)
    with HybridClassifier(config, index=index) as classifier:
        assert classifier.classify_vectors(VECTORS[:1])[0].candidates[0].neighbors[0].example.path == "00"
    assert {file: file.read_bytes() for file in config.retrieval.index_path.rglob("*") if file.is_file()} == before


def test_vectors_of_another_name_are_refused(config, index):
    """Where the configuration names them; the right name changes nothing."""
    config.set("encoder.model=clip@1")
    with HybridClassifier(config, index=index) as classifier:
        assert len(classifier.classify_vectors(VECTORS)) == 23
    config.set("encoder.model=clip@2")
    with pytest.raises(IndexMismatchError, match="has vectors of 'clip@1', but encoder.model is 'clip@2'"):
        HybridClassifier(config, index=index)


def test_an_index_of_several_encoders_is_named_by_its_path(config, tmp_path):
    """One in memory has the vectors of one encoder."""
    path = write_encoders(tmp_path / "two.npz", LABELS, [VECTORS, VECTORS])
    with pytest.raises(ConfigError, match="has vectors of 2 encoders"):
        HybridClassifier(config, index=Index.open(path))
