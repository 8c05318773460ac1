"""Forgetting old edits deletes what only they referred to."""

from datetime import UTC, datetime, timedelta

import numpy as np

from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.storage.store import Store
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.journals import assert_consistent, everything


def image(seed):
    return draw("argyle", np.random.default_rng(seed), 16)


def encoded(path):
    with Store(path) as store:
        return store.encoded_hashes(store.manifest().space_ids[0])


def test_examples_and_their_vectors_stay_and_removed_images_go(tmp_path):
    """What a later edit refers to stays as well, and a second call finds nothing."""
    config, path = offline_config(tmp_path / "index"), tmp_path / "index"
    editor = IndexEditor(path, config)
    dataset = draw_dataset(tmp_path / "dataset", ["stripes", "gingham"], count=2, size=16)
    build_index_from_directory(dataset, path, config=config)
    kept, gone, later = editor.add([image(1), image(2), image(3)], "argyle").changes.added
    editor.remove([gone])
    editor.dismiss(editor.findings_about("label", [kept]))
    middle = datetime.now(UTC)
    while datetime.now(UTC) - middle < timedelta(milliseconds=2):
        pass  # edits have times in milliseconds
    editor.remove([later])
    before, vectors = everything(path), encoded(path)
    report = editor.purge(middle + timedelta(milliseconds=1))
    assert (report.edits, report.contents, report.images) == (4, 1, 1)
    assert report.bytes > 100
    assert everything(path) == before
    assert len(encoded(path)) == len(vectors) - 1
    assert [file.name for file in (path / "trash").iterdir()] == [later.removeprefix(".added/")]
    editor.undo()
    assert later in editor.examples_of("argyle")
    assert_consistent(path)
    again = editor.purge(middle)
    assert (again.edits, again.contents, again.images, again.bytes) == (0, 0, 0, 0)


def test_images_that_a_killed_purge_left_go_with_the_next_one(tmp_path):
    """The rows are forgotten first: an edit that is listed can be undone."""
    config, path = offline_config(tmp_path / "index"), tmp_path / "index"
    build_index_from_directory(
        draw_dataset(tmp_path / "d", ["stripes", "tartan"], count=2, size=16), path, config=config
    )
    (path / "trash").mkdir()
    (path / "trash" / "left.png").write_bytes(b"12345")
    report = IndexEditor(path, config).purge(datetime(2020, 1, 1, tzinfo=UTC))
    assert (report.edits, report.images, report.bytes) == (0, 1, 5)
