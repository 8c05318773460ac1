"""Sync: after any changes of the corpus the index is what a new build would be, and only new content is encoded."""

import os
import shutil
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import CorpusError, IndexMismatchError
from lmm_classifier.data.image_folder import scan_corpus
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.encode_files import LazyEncoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.sync import Sync
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import ExactIndex
from tests.helpers.corpora import draw_corpus, offline_config


class CountingEncoder(DescriptorEncoder):
    """The real descriptor, which remembers how many pictures it was given."""

    def __init__(self):
        super().__init__()
        self.given = 0

    def encode(self, prepared):
        self.given += len(prepared)
        return super().encode(prepared)


def build(corpus, output):
    return build_index_from_directory(corpus, output, config=offline_config(output))


def sync(corpus, index, encoder=None):
    encoder = encoder or CountingEncoder()
    report = IndexEditor(index, offline_config(index), encoder).sync(corpus)
    assert report.changes.encoded == encoder.given
    return report


def assert_as_new(index, corpus):
    """The index equals one built from nothing: rows, order and bits."""
    with tempfile.TemporaryDirectory() as name:
        build(corpus, Path(name) / "new")
        fresh, ours = ExactIndex.open(Path(name) / "new"), ExactIndex.open(index)
        assert ours.examples == fresh.examples
        assert ours.hashes == fresh.hashes
        np.testing.assert_array_equal(ours.gallery.units, fresh.gallery.units)
        np.testing.assert_array_equal(ours.vectors(), fresh.vectors())
        assert ours.contents.space_is_current


@pytest.fixture
def corpus(tmp_path):
    return draw_corpus(tmp_path / "corpus", count=4, size=48)


@pytest.fixture
def index(corpus, tmp_path):
    build(corpus, tmp_path / "index")
    return tmp_path / "index"


def test_nothing_changed(corpus, index):
    """Nothing is read twice, nothing encoded, and the version stays."""
    before = ExactIndex.open(index).contents.version
    report = sync(corpus, index)
    assert (report.changes.encoded, report.changes.unchanged, report.changes.any) == (0, 16, False)
    assert ExactIndex.open(index).contents.version == before
    for file in corpus.rglob("*.png"):
        os.utime(file)  # looks changed, but holds the same
    assert not sync(corpus, index).changes.any
    assert ExactIndex.open(index).contents.version == before


def test_a_renamed_label_costs_nothing(corpus, index):
    """A folder with a new name: every picture of it is renamed and relabelled, none encoded, no encoder loaded."""
    (corpus / "stripes").rename(corpus / "lines")

    def fail():
        raise AssertionError("the encoder was loaded")

    editor = IndexEditor(index, offline_config(index))
    editor._encoder = LazyEncoder(fail)
    changes = editor.sync(corpus).changes
    assert changes.renamed == tuple((f"stripes/{n:02}.png", f"lines/{n:02}.png") for n in range(4))
    assert {(before, now) for _, before, now in changes.relabelled} == {("stripes", "lines")}
    assert (changes.encoded, changes.added, changes.removed, changes.unchanged) == (0, (), (), 12)
    assert_as_new(index, corpus)


def test_every_kind_of_change_is_told(corpus, index):
    """New, removed, replaced, renamed and moved pictures, each under its name."""
    (corpus / "gingham" / "00.png").rename(corpus / "gingham" / "first.png")
    (corpus / "gingham" / "01.png").rename(corpus / "stripes" / "moved.png")
    (corpus / "stripes" / "00.png").unlink()
    draw("argyle", np.random.default_rng(5), 48).save(corpus / "stripes" / "01.png")
    draw("argyle", np.random.default_rng(6), 48).save(corpus / "stripes" / "new.png")
    shutil.copy(corpus / "stripes" / "02.png", corpus / "stripes" / "twin.png")
    (corpus / "stripes" / "bad.png").write_bytes(b"\x89PNG nonsense")
    report = sync(corpus, index)
    changes = report.changes
    assert changes.renamed == (("gingham/00.png", "gingham/first.png"), ("gingham/01.png", "stripes/moved.png"))
    assert changes.relabelled == (("stripes/moved.png", "gingham", "stripes"),)
    assert changes.removed == ("stripes/00.png",)
    assert changes.replaced == ("stripes/01.png",)
    assert changes.added == ("stripes/new.png", "stripes/twin.png")
    assert changes.encoded == 2
    assert [one.path for one in report.failed] == ["stripes/bad.png"]
    assert_as_new(index, corpus)


def test_bad_files_are_remembered(corpus, index, monkeypatch):
    """A refused file is not read again until it changes; the same bytes elsewhere are not decoded again."""
    bad = corpus / "stripes" / "bad.png"
    bad.write_bytes(b"\x89PNG nonsense")
    first = sync(corpus, index)
    decoded = []
    monkeypatch.setattr("lmm_classifier.data.images.decode", lambda data, *_: decoded.append(data))
    assert sync(corpus, index).skipped == first.skipped
    os.utime(bad)
    shutil.copy(bad, corpus / "gingham" / "too.png")
    again = sync(corpus, index)
    assert [(one.path, one.kind) for one in again.failed] == [
        ("gingham/too.png", "corrupt"), ("stripes/bad.png", "corrupt"),
    ]  # fmt: skip
    assert decoded == []
    monkeypatch.undo()
    picture = BytesIO()
    draw("argyle", np.random.default_rng(7), 48).save(picture, "PNG")
    bad.write_bytes(picture.getvalue())
    assert sync(corpus, index).changes.added == ("stripes/bad.png",)


def test_other_limits_try_again(corpus, tmp_path):
    """What was refused for its size is tried again when the limit is another one."""
    index, config = tmp_path / "index", offline_config(tmp_path / "index", images__max_pixels=1000)
    draw("argyle", np.random.default_rng(0), 24).save(corpus / "stripes" / "small.png")
    report = build_index_from_directory(corpus, index, config=config)
    assert (report.total, {one.kind for one in report.failed}) == (1, {"too_large"})
    assert sync(corpus, index).total == 17


def test_what_cannot_be_read_now_is_kept(corpus, index, monkeypatch):
    """A folder that cannot be opened today does not cost its examples; a corpus that is gone is an error."""
    real = os.scandir

    def scandir(path):
        if Path(path).name == "stripes":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("lmm_classifier.data.image_folder.os.scandir", scandir)
    report = sync(corpus, index)
    assert not report.changes.any
    assert [one.path for one in report.failed] == ["stripes"]
    monkeypatch.undo()
    corpus.rename(corpus.with_name("away"))
    with pytest.raises(CorpusError, match="does not exist"):
        sync(corpus, index)
    assert len(ExactIndex.open(index)) == 16


def test_a_corpus_that_moved(corpus, index):
    """Another place, the same content: nothing is encoded, and evidence is looked for there."""
    moved = corpus.rename(corpus.with_name("elsewhere"))
    assert sync(moved, index).changes.encoded == 0
    assert ExactIndex.open(index).contents.file_of("stripes/00.png").is_file()


def test_an_interrupted_build_goes_on(corpus, tmp_path):
    """What was committed is not encoded again; until then the index says how far it is and what to do."""
    index = tmp_path / "index"

    class Stops(CountingEncoder):
        def encode(self, prepared):
            if self.given >= 8:
                raise KeyboardInterrupt
            return super().encode(prepared)

    def run(encoder):
        with Store(index, create=True) as store:
            return Sync(store, scan_corpus(corpus), encoder.fingerprint, LazyEncoder(lambda: encoder),
                        lambda: encoder.space, offline_config(index), 4).run()  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        run(Stops())
    with pytest.raises(ValueError, match=r"interrupted after 8 pictures.*it goes on from there"):
        ExactIndex.open(index)
    encoder = CountingEncoder()
    assert run(encoder).total == 16
    assert encoder.given == 8
    assert_as_new(index, corpus)


def test_another_encoder_is_for_build(corpus, index):
    """Sync refuses vectors of two kinds, naming both; build replaces them all, keeping the index open until then."""

    class Other(CountingEncoder):
        @property
        def fingerprint(self):
            from dataclasses import replace

            return replace(super().fingerprint, revision="other")

    draw("argyle", np.random.default_rng(6), 48).save(corpus / "stripes" / "new.png")
    with pytest.raises(IndexMismatchError, match="other"):
        IndexEditor(index, offline_config(index), Other()).sync(corpus)
    encoder = Other()
    with Store(index, create=True) as store:
        Sync(store, scan_corpus(corpus), encoder.fingerprint, LazyEncoder(lambda: encoder), lambda: encoder.space,
             offline_config(index), 4).run()  # fmt: skip
    assert encoder.given == 17
    assert ExactIndex.open(index).manifest.fingerprint.revision == "other"


def png(number):
    stream = BytesIO()
    draw(KNOWN[number], np.random.default_rng(number), 24).save(stream, "PNG")
    return stream.getvalue()


PICTURES = [png(number) for number in range(6)]
PLACES = st.sampled_from([f"{label}/{name}.png" for label in "abc" for name in ("1", "2", "sub/3")])
STEPS = st.one_of(
    st.tuples(st.just("write"), PLACES, st.integers(0, 5)),
    st.tuples(st.just("write"), PLACES, st.just(None)),  # no picture
    st.tuples(st.just("remove"), PLACES),
    st.tuples(st.just("move"), PLACES, PLACES),
    st.tuples(st.just("swap"), PLACES, PLACES),
    st.tuples(st.just("label"), st.sampled_from("abc"), st.sampled_from("abcd")),
    st.tuples(st.just("sync")),
)


def take(root, step):
    """Do to the corpus what a person might do."""
    kind, *what = step
    if kind == "write":
        file = root / what[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\x89PNG nonsense" if what[1] is None else PICTURES[what[1]])
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


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_any_history_ends_as_a_new_build(steps):
    """Whatever was done to the corpus, with syncs in between: rows, order and bits are those of a fresh index."""
    with tempfile.TemporaryDirectory() as name:
        root, index = Path(name) / "corpus", Path(name) / "index"
        for place, number in (("a/1.png", 0), ("b/1.png", 1), ("b/2.png", 2)):
            take(root, ("write", place, number))
        build(root, index)
        for step in [*steps, ("sync",)]:
            if step != ("sync",):
                take(root, step)
                continue
            before = set(ExactIndex.open(index).hashes)
            try:
                changes = sync(root, index).changes
            except CorpusError:
                return  # nothing is left
            new = set(ExactIndex.open(index).hashes) - before
            assert changes.encoded <= len(changes.added) + len(changes.replaced)
            assert changes.encoded >= len(new)
            assert not new or changes.added or changes.replaced
        assert_as_new(index, root)
