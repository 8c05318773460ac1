"""Where a hierarchy comes from: a file of the configuration, or the folders of the examples, as far as these go."""

import json
import logging
from dataclasses import replace

import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.index.formats import read_index
from lmm_classifier.pipeline.hierarchy.opening import hierarchy_of_folders, open_hierarchy
from tests.helpers.vector_indexes import NESTED, write_nested, write_vectors

PATH = "dataset#label_from=path"


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    return read_index(write_nested(tmp_path_factory.mktemp("opening") / "index.npz", count=2, dataset=PATH))


def of_labels(contents, paths, labels):
    return hierarchy_of_folders(replace(contents, paths=paths, labels=labels))


def test_folders_are_the_hierarchy(contents):
    """Only where labels were read so; a table may have a column of this name."""
    assert hierarchy_of_folders(contents).above == {label: NESTED[label] for label in sorted(NESTED)}
    for source in ("dataset", "dataset#label_from=parent", "images.csv#label_from=path", "coco:a@b#label_from=path"):
        other = replace(contents, manifest=replace(contents.manifest, image_root=source))
        assert hierarchy_of_folders(other) is None
        assert open_hierarchy(PipelineConfig(), other) is None
    assert open_hierarchy(PipelineConfig(), contents) == hierarchy_of_folders(contents)


def test_edited_labels_keep_the_folders_true(contents):
    """A renamed label stays; a new one stands below what its examples share; one added by hand at the root."""
    paths = ["a/b/x/1.jpg", "a/b/x/2.jpg", "a/c/y/1.jpg", "a/c/y/2.jpg", "z/1.jpg", ".added/0.jpg"]

    def above(*labels):
        return dict(of_labels(contents, paths, labels).above)

    usual = {"x": ("a", "b"), "y": ("a", "c"), "z": ()}
    assert above("x", "x", "y", "y", "z", "z") == usual
    assert above("new", "new", "y", "y", "z", "z") == {"new": ("a", "b"), "y": ("a", "c"), "z": ()}
    assert above("x", "new", "new", "y", "z", "z") == {**usual, "new": ("a",)}
    assert above("x", "y", "y", "y", "z", "z") == usual  # one whose own folder is there stays
    assert above("x", "new", "y", "y", "new", "z") == {**usual, "new": ()}
    assert above("x", "x", "y", "y", "z", "hand") == {**usual, "hand": ()}
    # a label with the name of a folder takes its place
    assert above("a", "a", "y", "y", "z", "z") == {"a": ("b",), "y": ("c",), "z": ()}


def test_folders_that_are_none_are_told(contents, caplog):
    """As an index may have them that was made otherwise; nothing rolls up then."""
    with caplog.at_level(logging.WARNING):
        assert of_labels(contents, ["a/b/x/1.jpg", "b/a/y/1.jpg"], ["x", "y"]) is None
    assert "are not used as a hierarchy" in caplog.text


def test_a_file_comes_first(contents, tmp_path):
    """It may name labels without examples; a renamed label stays where its former name stands."""
    (tmp_path / "tree.yaml").write_text("things: [shirt, lamp]\n")
    config = PipelineConfig(hierarchy=tmp_path / "tree.yaml")
    assert open_hierarchy(config, contents).above == {"shirt": ("things",), "lamp": ("things",)}
    renamed = open_hierarchy(config, contents, {"lamp": "hat"}).of_labels(contents.labels)
    assert renamed.above["hat"] == ("things",)
    config.unknown_label = "Things"
    with pytest.raises(ConfigError, match=r"tree\.yaml: The label 'things' cannot be told from unknown_label"):
        open_hierarchy(config, contents)
    with pytest.raises(ConfigError, match="The label 'tops' cannot be told from unknown_label"):
        open_hierarchy(PipelineConfig(unknown_label="Tops"), contents)
    with pytest.raises(ConfigError, match="Cannot read the hierarchy"):
        open_hierarchy(PipelineConfig(hierarchy=tmp_path / "missing.yaml"), contents)


def test_the_path_in_a_file_of_settings_starts_there(tmp_path):
    """As every path of a file of settings."""
    (tmp_path / "settings.yaml").write_text(json.dumps({"hierarchy": "tree.yaml"}))
    assert PipelineConfig.from_yaml(tmp_path / "settings.yaml").hierarchy == tmp_path / "tree.yaml"


def test_an_index_of_another_shape_has_no_folders(tmp_path):
    """Ids without a folder stand at the root."""
    path = write_vectors(
        tmp_path / "i.npz", ["a", "b"], __import__("numpy").eye(2, 12, dtype="f4"), paths=["1", "2"], dataset=PATH
    )
    assert hierarchy_of_folders(read_index(path)).height == 0
