"""An index is used with its own encoders where none is named."""

import logging
from dataclasses import replace

import pytest

from lmm_classifier import HybridClassifier, IndexEditor, build_index_from_directory, sync_index
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import IndexMismatchError
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.index.formats import read_index, read_manifest, write_index
from lmm_classifier.index.settings.remembered import config_of_index
from tests.helpers.datasets import draw_dataset

OFFLINE = {"encoder": [{"backend": "descriptor"}], "rerank": {"backend": "views"}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remembered") / "dataset"
    draw_dataset(folder, ["stripes", "gingham"], count=3, size=48)
    return folder


@pytest.fixture
def with_settings(dataset, tmp_path):
    """Return a function that writes an index in one file which remembers what it is given."""
    build_index_from_directory(dataset, tmp_path / "built.npz", config=PipelineConfig.offline())

    def write(settings):
        contents = read_index(tmp_path / "built.npz")
        write_index(tmp_path / "index.npz", replace(contents, manifest=replace(contents.manifest, settings=settings)))
        return tmp_path / "index.npz"

    return write


@pytest.mark.parametrize("name", ["index", "index.npz"])
def test_an_index_opens_as_it_was_built(dataset, tmp_path, name):
    """Both formats remember, and so do a copy in the other format and an index that is edited."""
    path = tmp_path / name
    build_index_from_directory(dataset, path, config=PipelineConfig.offline())
    assert read_manifest(path).settings == OFFLINE
    config = config_of_index(path)
    assert (config.encoders[0].backend, config.rerank.backend) == ("descriptor", "views")
    with HybridClassifier.open(path) as classifier:
        assert not classifier.classify(next(dataset.glob("stripes/*.png"))).is_unknown
        assert classifier.reranker.identity == "views:five"
    other = tmp_path / ("copy.npz" if name == "index" else "copy")
    write_index(other, read_index(path))
    assert read_manifest(other).settings == OFFLINE


def test_edits_and_syncs_keep_what_is_remembered(dataset, tmp_path):
    """Neither an edit, nor a sync, nor a second build without a configuration changes the encoders."""
    path = tmp_path / "index"
    build_index_from_directory(dataset, path, config=PipelineConfig.offline())
    editor = IndexEditor(path)
    editor.relabel(editor.examples_of("stripes")[:1], "gingham")
    assert sync_index(path).changes.encoded == 0
    assert build_index_from_directory(dataset, path).changes.encoded == 0
    assert read_manifest(path).settings == OFFLINE


def test_an_older_index_learns_its_settings_from_a_build(dataset, tmp_path):
    """Encoders that are given as objects are not remembered; a build that names them adds no edit to the journal."""
    path = tmp_path / "index"
    build_index_from_directory(dataset, path, encoder=DescriptorEncoder(), config=PipelineConfig.offline())
    assert read_manifest(path).settings == {}
    assert not config_of_index(path).names_encoders
    with pytest.raises(IndexMismatchError, match="set encoder.backend to 'descriptor'"):
        HybridClassifier.open(path)
    edits = IndexEditor(path, PipelineConfig.offline()).count_edits()
    build_index_from_directory(dataset, path, config=PipelineConfig.offline())
    assert read_manifest(path).settings == OFFLINE
    build_index_from_directory(dataset, path, encoder=DescriptorEncoder(), config=PipelineConfig.offline())
    assert read_manifest(path).settings == OFFLINE, "the same vectors, so what is known of them still holds"
    assert IndexEditor(path).count_edits() == edits


def test_a_configuration_that_names_an_encoder_counts(with_settings):
    """A named encoder is never replaced, be it the default one: the difference stays an error."""
    path = with_settings(OFFLINE)
    for config in (PipelineConfig.preset("default"), PipelineConfig(encoder={"model": "owner/name"})):
        assert config_of_index(path, config) is config
        with pytest.raises(IndexMismatchError):
            HybridClassifier.open(path, config)


def test_other_settings_stay(with_settings):
    """Keys that say how to compute count for each encoder of the index; a named reranker stays."""
    path = with_settings({**OFFLINE, "encoder": [{"backend": "lite"}, {"backend": "descriptor"}]})
    config = PipelineConfig(labels=["stripes"], rerank={"backend": "openai_api"})
    config.set("encoder.batch_size=7")
    found = config_of_index(path, config)
    assert [(section.backend, section.batch_size) for section in found.encoders] == [("lite", 7), ("descriptor", 7)]
    assert (found.labels, found.rerank.backend) == (["stripes"], "openai_api")
    assert config.encoders[0].backend == "transformers", "the argument is not changed"
    assert PipelineConfig().encoders[0].batch_size != 7
    switched_off = config_of_index(path, PipelineConfig(rerank={"enabled": False}))
    assert (switched_off.rerank.enabled, switched_off.rerank.backend) == (False, "views")


def test_a_cascade_is_remembered(with_settings):
    """The order of the encoders is only of use with the cascade."""
    kept = {**OFFLINE, "retrieval": {"cascade": True}}
    assert config_of_index(with_settings(kept)).retrieval.cascade


def test_a_reranker_that_is_not_remembered_is_told(with_settings, caplog):
    """Its address is private; without it nothing is asked, which the log says, unless that is wanted."""
    path = with_settings({**OFFLINE, "rerank": {"enabled": False, "backend": "openai_api"}})
    with caplog.at_level(logging.WARNING):
        assert not config_of_index(path).rerank.enabled
    assert "does not remember where the reranker openai_api was" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert not config_of_index(path, PipelineConfig(rerank={"enabled": False})).rerank.enabled
    assert caplog.text == ""


def test_settings_that_are_not_known_are_told(with_settings, caplog):
    """An index of a later version, or a forged one, is used as one that remembers nothing."""
    config = config_of_index(with_settings({**OFFLINE, "logging": {"file": "/tmp/log"}}))
    assert not config.names_encoders
    assert "are not used: logging has other keys than none" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"no index"])
def test_no_sound_index_changes_nothing(tmp_path, content):
    """Whoever opens it then says what is wrong."""
    path = tmp_path / "index.npz"
    if content is not None:
        path.write_bytes(content)
    config = PipelineConfig()
    assert config_of_index(path, config) is config
