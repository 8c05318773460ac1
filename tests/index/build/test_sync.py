"""Sync: after any changes of the dataset the index equals a new build, and only new content is encoded."""

import os
import shutil
import tempfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import Cancelled, DatasetError, IndexMismatchError
from lmm_classifier.data.image_folder import scan_image_folder
from lmm_classifier.data.images import read_if_new
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor, sync_index
from lmm_classifier.index.build.sync import Sync
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import Index
from tests.helpers.datasets import draw_dataset, offline_config


class CountingEncoder(DescriptorEncoder):
    """The real descriptor, which counts the images that it encodes."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def encode(self, preprocessed):
        self.count += len(preprocessed)
        return super().encode(preprocessed)


def build(dataset, output):
    return build_index_from_directory(dataset, output, config=offline_config(output))


def sync(dataset, index, encoder=None):
    encoder = encoder or CountingEncoder()
    report = IndexEditor(index, offline_config(index), encoder).sync(dataset)
    assert report.changes.encoded == encoder.count
    return report


def update(store, dataset, encoder):
    """Update an open store, as a build does, with batches of four."""
    loaded = LazyEncoder(lambda: encoder)
    folder, config = scan_image_folder(dataset), offline_config(store.folder)
    return Sync(store, folder, [encoder.fingerprint], [loaded], lambda: [encoder.transform_fitter], config, 4).run()


def assert_as_new(index, dataset):
    """Compare the index with a new build: rows, order and bits."""
    with tempfile.TemporaryDirectory() as name:
        build(dataset, Path(name) / "new")
        fresh, synced = Index.open(Path(name) / "new"), Index.open(index)
        assert synced.examples == fresh.examples
        assert synced.hashes == fresh.hashes
        np.testing.assert_array_equal(synced.gallery.embeddings, fresh.gallery.embeddings)
        np.testing.assert_array_equal(synced.vectors(), fresh.vectors())
        assert synced.contents.transforms_are_current


@pytest.fixture
def dataset(tmp_path):
    return draw_dataset(tmp_path / "dataset", count=4, size=48)


@pytest.fixture
def index(dataset, tmp_path):
    build(dataset, tmp_path / "index")
    return tmp_path / "index"


def test_an_unchanged_dataset_changes_nothing(dataset, index):
    """No image is encoded, and the version stays."""
    before = Index.open(index).contents.version
    report = sync(dataset, index)
    assert (report.changes.encoded, report.changes.unchanged, report.changes.any) == (0, 16, False)
    assert Index.open(index).contents.version == before
    for file in dataset.rglob("*.png"):
        os.utime(file)  # looks changed, but holds the same
    assert not sync(dataset, index).changes.any
    assert Index.open(index).contents.version == before


def test_a_change_that_keeps_size_and_time_is_found(dataset, index):
    """As after `cp -p` or `rsync -t`: in place, and by another file under the same name."""
    file = dataset / "stripes" / "00.png"
    status, size = file.stat(), 10_000
    for number, path in enumerate((file, dataset / "other.png")):
        image = BytesIO()
        draw("argyle", np.random.default_rng(number), 48).save(image, "PNG")
        path.write_bytes(image.getvalue().ljust(size, b"\0"))  # bytes after the end of an image are ignored
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        path.replace(file)
        assert sync(dataset, index).changes.replaced == ("stripes/00.png",)


def test_a_file_that_did_not_change_is_not_read(dataset, index, monkeypatch):
    """Unless it changed just now: then it may change again within one tick of the clock."""
    read = []

    def read_and_note(path, *others):
        read.append(path)
        return read_if_new(path, *others)

    monkeypatch.setattr("lmm_classifier.embeddings.encode_files.read_if_new", read_and_note)
    sync(dataset, index)
    assert len(read) == 16
    monkeypatch.setattr("lmm_classifier.index.storage.records._TICK", -1 << 62)
    sync(dataset, index)
    read.clear()
    assert not sync(dataset, index).changes.any
    assert read == []


def test_a_renamed_label_needs_no_encoder(dataset, index):
    """Every image of the folder is renamed and relabeled."""
    (dataset / "stripes").rename(dataset / "lines")

    def fail():
        raise AssertionError("the encoder was loaded")

    editor = IndexEditor(index, offline_config(index))
    editor._encoder = LazyEncoder(fail)
    changes = editor.sync(dataset).changes
    assert changes.renamed == tuple((f"stripes/{n:02}.png", f"lines/{n:02}.png") for n in range(4))
    assert {(former, label) for _, former, label in changes.relabeled} == {("stripes", "lines")}
    assert (changes.encoded, changes.added, changes.removed, changes.unchanged) == (0, (), (), 12)
    assert_as_new(index, dataset)


def test_every_kind_of_change_is_reported(dataset, index):
    """Added, removed, replaced, renamed and moved images."""
    (dataset / "gingham" / "00.png").rename(dataset / "gingham" / "first.png")
    (dataset / "gingham" / "01.png").rename(dataset / "stripes" / "moved.png")
    (dataset / "stripes" / "00.png").unlink()
    draw("argyle", np.random.default_rng(5), 48).save(dataset / "stripes" / "01.png")
    draw("argyle", np.random.default_rng(6), 48).save(dataset / "stripes" / "new.png")
    shutil.copy(dataset / "stripes" / "02.png", dataset / "stripes" / "twin.png")
    (dataset / "stripes" / "bad.png").write_bytes(b"\x89PNG nonsense")
    report = sync(dataset, index)
    changes = report.changes
    assert changes.renamed == (("gingham/00.png", "gingham/first.png"), ("gingham/01.png", "stripes/moved.png"))
    assert changes.relabeled == (("stripes/moved.png", "gingham", "stripes"),)
    assert changes.removed == ("stripes/00.png",)
    assert changes.replaced == ("stripes/01.png",)
    assert changes.added == ("stripes/new.png", "stripes/twin.png")
    assert changes.encoded == 2
    assert [file.path for file in report.failed] == ["stripes/bad.png"]
    assert_as_new(index, dataset)


def test_a_bad_file_is_not_tried_again_until_it_changes(dataset, index, monkeypatch):
    """The same bytes elsewhere are not decoded again."""
    bad = dataset / "stripes" / "bad.png"
    bad.write_bytes(b"\x89PNG nonsense")
    first = sync(dataset, index)
    decoded = []
    monkeypatch.setattr("lmm_classifier.data.images.decode", lambda data, *_: decoded.append(data))
    assert sync(dataset, index).skipped == first.skipped
    os.utime(bad)
    shutil.copy(bad, dataset / "gingham" / "too.png")
    again = sync(dataset, index)
    assert [(file.path, file.kind) for file in again.failed] == [
        ("gingham/too.png", "corrupt"), ("stripes/bad.png", "corrupt"),
    ]  # fmt: skip
    assert decoded == []
    monkeypatch.undo()
    image = BytesIO()
    draw("argyle", np.random.default_rng(7), 48).save(image, "PNG")
    bad.write_bytes(image.getvalue())
    assert sync(dataset, index).changes.added == ("stripes/bad.png",)


def test_a_bad_file_is_tried_again_with_other_limits(dataset, tmp_path):
    """Here it was too large."""
    index, config = tmp_path / "index", offline_config(tmp_path / "index", images__max_pixels=1000)
    draw("argyle", np.random.default_rng(0), 24).save(dataset / "stripes" / "small.png")
    report = build_index_from_directory(dataset, index, config=config)
    assert (report.total, {file.kind for file in report.failed}) == (1, {"too_large"})
    assert sync(dataset, index).total == 17


def test_examples_of_an_unreadable_folder_stay(dataset, index, monkeypatch):
    """A missing dataset is an error."""
    real = os.scandir

    def scandir(path):
        if Path(path).name == "stripes":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("lmm_classifier.data.image_folder.os.scandir", scandir)
    report = sync(dataset, index)
    assert not report.changes.any
    assert [file.path for file in report.failed] == ["stripes"]
    monkeypatch.undo()
    dataset.rename(dataset.with_name("away"))
    with pytest.raises(DatasetError, match="does not exist"):
        sync(dataset, index)
    assert len(Index.open(index)) == 16


def test_examples_behind_links_stay(dataset, index, tmp_path):
    """A link whose target is away, or that a run does not follow, costs no example."""
    (dataset / "stripes").rename(tmp_path / "store")
    (dataset / "stripes").symlink_to(tmp_path / "store")
    (dataset / "gingham/00.png").rename(tmp_path / "one.png")
    (dataset / "gingham/00.png").symlink_to(tmp_path / "one.png")
    config = offline_config(index, images__follow_links=f"[{tmp_path}]")
    assert not IndexEditor(index, config, CountingEncoder()).sync(dataset).changes.any
    report = sync(dataset, index)
    assert not report.changes.any
    assert {file.path: file.kind for file in report.failed} == {"gingham/00.png": "outside", "stripes": "symlink"}
    (tmp_path / "one.png").unlink()
    assert sync(dataset, index).total == 16


def test_a_label_in_another_unicode_form_is_the_same(dataset, index):
    """A folder that moves between systems keeps its label, and no example counts as changed by hand."""
    (dataset / "stripes").rename(dataset / "raye\u0301")
    report = sync(dataset, index)
    assert {label for _, _, label in report.changes.relabeled} == {"ray\u00e9"}
    (dataset / "raye\u0301").rename(dataset / "ray\u00e9")
    report = sync(dataset, index)
    assert len(report.changes.renamed) == 4
    assert report.changes.relabeled == ()
    (dataset / "ray\u00e9").rename(dataset / "other")
    assert len(sync(dataset, index).changes.relabeled) == 4


def test_a_moved_dataset_is_not_encoded_again(dataset, index):
    """Example images are read from the new folder."""
    moved = dataset.rename(dataset.with_name("elsewhere"))
    assert sync(moved, index).changes.encoded == 0
    assert Index.open(index).contents.file_of("stripes/00.png").is_file()


def test_an_interrupted_build_is_resumed(dataset, tmp_path):
    """Committed images are not encoded again. Opening the unfinished index says what to do."""
    index = tmp_path / "index"

    class Stops(CountingEncoder):
        def encode(self, preprocessed):
            if self.count >= 8:
                raise KeyboardInterrupt
            return super().encode(preprocessed)

    def run(encoder):
        with Store(index, create=True) as store:
            return update(store, dataset, encoder)

    with pytest.raises(KeyboardInterrupt):
        run(Stops())
    with pytest.raises(ValueError, match=r"interrupted after 8 images.*again to resume it"):
        Index.open(index)
    encoder = CountingEncoder()
    assert run(encoder).total == 16
    assert encoder.count == 8
    assert_as_new(index, dataset)


def test_sync_index_is_the_sync_of_the_editor(dataset, index):
    """Without a dataset it takes the one that the index was built from."""
    (dataset / "stripes" / "00.png").rename(dataset / "stripes" / "first.png")
    report = sync_index(index, config=offline_config(index), encoder=CountingEncoder())
    assert report.changes.renamed == (("stripes/00.png", "stripes/first.png"),)
    assert report.seconds > 0
    moved = dataset.rename(dataset.with_name("elsewhere"))
    assert not sync_index(str(index), str(moved), offline_config(index)).changes.any


def test_a_cancelled_sync_changes_no_example(dataset, index):
    """Images that were encoded before are not encoded again."""
    draw_dataset(dataset, ["argyle"], count=6, size=48)

    def cancel(progress):
        raise Cancelled

    with pytest.raises(Cancelled):
        sync_index(index, config=offline_config(index), batch_size=4, progress=cancel)
    assert len(Index.open(index)) == 16
    encoder = CountingEncoder()
    assert sync_index(index, config=offline_config(index), encoder=encoder).total == 22
    assert encoder.count == 2


def test_only_a_build_may_change_the_encoder(dataset, index):
    """A sync with another encoder is an error that names both. A build replaces all vectors."""

    class Other(CountingEncoder):
        @property
        def fingerprint(self):
            return replace(super().fingerprint, revision="other")

    draw("argyle", np.random.default_rng(6), 48).save(dataset / "stripes" / "new.png")
    with pytest.raises(IndexMismatchError, match="other"):
        IndexEditor(index, offline_config(index), Other()).sync(dataset)
    encoder = Other()
    with Store(index, create=True) as store:
        update(store, dataset, encoder)
    assert encoder.count == 17
    assert Index.open(index).fingerprint.revision == "other"


def png(number):
    stream = BytesIO()
    draw(KNOWN[number], np.random.default_rng(number), 24).save(stream, "PNG")
    return stream.getvalue()


IMAGES = [png(number) for number in range(6)]
PLACES = st.sampled_from([f"{label}/{name}.png" for label in "abc" for name in ("1", "2", "sub/3")])
STEPS = st.one_of(
    st.tuples(st.just("write"), PLACES, st.integers(0, 5)),
    st.tuples(st.just("write"), PLACES, st.just(None)),  # no image
    st.tuples(st.just("remove"), PLACES),
    st.tuples(st.just("move"), PLACES, PLACES),
    st.tuples(st.just("swap"), PLACES, PLACES),
    st.tuples(st.just("label"), st.sampled_from("abc"), st.sampled_from("abcd")),
    st.tuples(st.just("sync")),
)


def take(root, step):
    """Change the dataset as a person might do."""
    kind, *what = step
    if kind == "write":
        file = root / what[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\x89PNG nonsense" if what[1] is None else IMAGES[what[1]])
    elif kind == "remove":
        (root / what[0]).unlink(missing_ok=True)
    elif kind == "label" and (root / what[0]).exists() and not (root / what[1]).exists():
        (root / what[0]).rename(root / what[1])
    elif kind in ("move", "swap") and (root / what[0]).exists():
        first, second = root / what[0], root / what[1]
        second.parent.mkdir(parents=True, exist_ok=True)
        if kind == "swap" and second.exists() and second != first:
            first.rename(root / "x")
            second.rename(first)
            (root / "x").rename(second)
        else:
            first.rename(second)


@pytest.mark.long
@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_any_sequence_of_changes_ends_as_a_new_build(steps):
    """With syncs in between, rows, order and bits equal those of a new index."""
    with tempfile.TemporaryDirectory() as name:
        root, index = Path(name) / "dataset", Path(name) / "index"
        for place, number in (("a/1.png", 0), ("b/1.png", 1), ("b/2.png", 2)):
            take(root, ("write", place, number))
        build(root, index)
        for step in [*steps, ("sync",)]:
            if step != ("sync",):
                take(root, step)
                continue
            before = set(Index.open(index).hashes)
            try:
                changes = sync(root, index).changes
            except DatasetError:
                return  # nothing is left
            new = set(Index.open(index).hashes) - before
            assert changes.encoded <= len(changes.added) + len(changes.replaced)
            assert changes.encoded >= len(new)
            assert not new or changes.added or changes.replaced
        assert_as_new(index, root)
