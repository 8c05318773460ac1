"""An index of vectors without images: made, saved, edited, calibrated and audited; what needs an image says so."""

import pickle

import numpy as np
import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError, DatasetError, IndexFileError, ReplacementError, VectorError
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.evaluation.audit import audit_index
from lmm_classifier.evaluation.reports.audit_page import write_audit_page
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor, sync_index
from lmm_classifier.index.contents import NO_IMAGE
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.index_info import describe_index
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.datasets import draw_dataset

LABELS = ["cat"] * 30 + ["dog"] * 25
VECTORS = clustered_embeddings(np.random.default_rng(0), LABELS, 8)
VECTORS_PRESET = PipelineConfig.preset("vectors")
ODD_IDS = ["/data/a.jpg", "../b.jpg", "s3://bucket/c.jpg", "שלום", "\udcff.jpg", "C:\\d.jpg", " ", "a//b", "../../etc"]


def editor(path):
    return IndexEditor(path, VECTORS_PRESET)


@pytest.fixture(params=["index", "index.npz"])
def saved(request, tmp_path):
    """The index, saved in one of the two forms."""
    Index.from_vectors(VECTORS, LABELS).save(tmp_path / request.param)
    return tmp_path / request.param


def test_it_is_the_same_when_it_is_opened_again(saved):
    """Labels, ids, hashes, vectors and the encoder, bit for bit and in the order in which they were given."""
    index, opened = Index.from_vectors(VECTORS, LABELS), Index.open(saved)
    assert list(opened.contents.labels) == list(index.contents.labels) == LABELS
    assert list(opened.contents.paths) == list(index.contents.paths) == [f"{row:02}" for row in range(55)]
    assert list(opened.hashes) == list(index.hashes)
    assert (opened.vectors() == VECTORS).all()
    assert (index.vectors() == VECTORS).all()
    assert opened.fingerprint == index.fingerprint
    assert opened.search(VECTORS[:5], 3) == index.search(VECTORS[:5], 3)


def test_it_can_be_pickled():
    """Also after a search, which lists the examples."""
    index = Index.from_vectors(VECTORS, LABELS)
    found = index.search(VECTORS[:5], 3)
    assert pickle.loads(pickle.dumps(index)).search(VECTORS[:5], 3) == found


def test_odd_ids_name_no_file(tmp_path):
    """Ids are names, whatever they look like: they survive both forms and an edit, and no file is opened."""
    vectors = clustered_embeddings(np.random.default_rng(1), ["cat", "dog"] * 5, 8)[: len(ODD_IDS)]
    index = Index.from_vectors(vectors, ["cat", "dog", *["cat"] * 7], ODD_IDS)
    for name in ("index", "index.npz"):
        index.save(tmp_path / name)
        contents = read_index(tmp_path / name)
        assert sorted(contents.paths) == sorted(ODD_IDS)
        assert {contents.file_of(path) for path in contents.paths} == {NO_IMAGE}
        assert check_index(tmp_path / name) == []
    path = tmp_path / "index"
    editor(path).relabel(ODD_IDS[:1], "dog")
    editor(path).remove(ODD_IDS[1:2])
    editor(path).undo()
    contents = read_index(path)
    assert dict(zip(contents.paths, contents.labels))["/data/a.jpg"] == "dog"
    assert sorted(contents.paths) == sorted(ODD_IDS)
    assert not NO_IMAGE.exists()


@pytest.mark.parametrize(
    ("labels", "ids", "message"),
    [
        (["cat"], None, "Got 2 vectors and 1 labels"),
        ("ab", None, "Expected 2 labels, one for each vector, got only 'ab'"),
        (3, None, "Expected 2 labels, one for each vector, got 3"),
        (["cat", 3], None, "3 is no label"),
        (["cat", " \u200b"], None, "is no label"),
        (["cat", "cat\u200b"], None, "cannot be seen"),
        (["é", "e\u0301 "], None, "cannot be seen"),
        (["cat", "dog"], ["a"], "Got 2 vectors and 1 ids"),
        (["cat", "dog"], ["a", "a"], "The id 'a' is given more than once"),
        (["cat", "dog"], ["a", ""], "'' is no id"),
        (["cat", "dog"], ["a", 7], "7 is no id"),
        (["cat", "dog"], ["a", "b\0"], "is no id"),
        (["cat", "dog"], ["a", ".added/../../x"], "is no id"),
    ],
)
def test_wrong_labels_and_ids(labels, ids, message):
    """There is one of each for a vector, and each can be one."""
    with pytest.raises(DatasetError, match=message):
        Index.from_vectors(np.eye(2), labels, ids)


def test_labels_are_stored_in_their_normal_form():
    """As those of folders; and numbers of numpy's text are text."""
    index = Index.from_vectors(np.eye(2), np.array(["e\u0301", "b"]))
    assert list(index.label_names) == ["b", "é"]


def test_wrong_vectors():
    """None at all, no rows, or of another size than those of the encoder."""
    with pytest.raises(DatasetError, match="at least one vector"):
        Index.from_vectors([], [])
    with pytest.raises(VectorError, match="row 1 holds NaN"):
        Index.from_vectors([[1, 0], [0, np.nan]], ["cat", "dog"])
    for encoder in (3, "", " ", None, DescriptorEncoder):
        with pytest.raises(DatasetError, match="Expected the name of what made the vectors, or an encoder"):
            Index.from_vectors(np.eye(2), ["cat", "dog"], encoder=encoder)
    with pytest.raises(DatasetError, match="The vectors have 2 numbers each, but those of descriptor"):
        Index.from_vectors(np.eye(2), ["cat", "dog"], encoder=DescriptorEncoder())


def test_equal_vectors_are_one_content(saved):
    """An audit lists them as copies, without a look for files."""
    vectors = np.concatenate([VECTORS, VECTORS[:1]])
    path = saved.with_name(f"copies{saved.suffix}")
    Index.from_vectors(vectors, [*LABELS, "dog"]).save(path)
    audit = audit_index(path)
    (copies,) = [group for group in audit.duplicates if group.exact]
    assert list(copies.paths) == ["00", "55"]
    assert copies.contradict
    write_audit_page(saved.with_name("audit.html"), audit, path)
    assert "made from a vector, no image" in saved.with_name("audit.html").read_text(encoding="utf-8")


def test_what_works_on_vectors_works(saved):
    """Calibrate, audit, check and describe need no encoder, whatever the configuration names."""
    report = calibrate_index(saved)
    assert report.accuracy > 0.9
    assert check_index(saved) == []
    described = describe_index(saved)
    assert described["calibration"]["state"] == "loaded"
    assert described["images"] == 55
    assert described["dataset"] == ""


def test_edits_of_vectors(tmp_path):
    """Examples are relabeled and removed, labels renamed, and all of it is undone."""
    Index.from_vectors(VECTORS, LABELS).save(tmp_path / "index")
    before = read_index(tmp_path / "index")
    edits = editor(tmp_path / "index")
    assert edits.relabel(["00"], "dog").changes.relabeled == (("00", "cat", "dog"),)
    assert edits.remove(["01", "02"]).changes.removed == ("01", "02")
    assert len(edits.rename_label("dog", "wolf").changes.relabeled) == 26
    for _ in range(3):
        edits.undo()
    after = read_index(tmp_path / "index")
    assert (list(after.paths), list(after.labels)) == (list(before.paths), list(before.labels))


def test_what_needs_images_says_so(tmp_path):
    """There is no dataset to sync with or to build from, and no encoder for an added image; nothing is changed."""
    Index.from_vectors(VECTORS, LABELS).save(tmp_path / "index")
    Index.from_vectors(VECTORS, LABELS).save(tmp_path / "index.npz")
    images = draw_dataset(tmp_path / "images", count=2)
    path, offline = tmp_path / "index", PipelineConfig.offline()
    for follow in (lambda: sync_index(path), lambda: sync_index(path, images, offline, replace=True)):
        with pytest.raises(ReplacementError, match="made from vectors, so there is no folder of images"):
            follow()
    for output in (path, tmp_path / "index.npz"):
        with pytest.raises(
            ReplacementError, match=r"made from vectors, but this is a build of .*Choose another output"
        ):
            build_index_from_directory(images, output, config=offline)
    with pytest.raises(ReplacementError, match="made from vectors"):
        build_index_from_directory(images, path, config=offline, replace=True)
    with pytest.raises(ConfigError, match="no encoder for images"):
        editor(path).add([images / "stripes" / "00.png"], "cat")
    assert len(read_index(path).paths) == len(read_index(tmp_path / "index.npz").paths) == 55
    assert check_index(path) == []
    with pytest.raises(IndexFileError, match="holds an index already"):
        Index.from_vectors(VECTORS, LABELS).save(path)


def test_vectors_of_an_encoder_that_is_there(tmp_path):
    """The index of a folder, made again from its vectors: equal where it matters, and images can be added."""
    images = draw_dataset(tmp_path / "images", count=4)
    build_index_from_directory(images, tmp_path / "built.npz", config=PipelineConfig.offline())
    built = Index.open(tmp_path / "built.npz")
    encoder = DescriptorEncoder()
    index = Index.from_vectors(built.vectors(), list(built.contents.labels), list(built.contents.paths), encoder)
    assert index.fingerprint == built.fingerprint
    assert (index.vectors() == built.vectors()).all()
    # the transform is fitted to the same vectors, in another order
    np.testing.assert_allclose(
        index.gallery.embeddings @ index.gallery.embeddings.T,
        built.gallery.embeddings @ built.gallery.embeddings.T,
        atol=1e-4,
    )
    index.save(tmp_path / "index")
    edits = IndexEditor(tmp_path / "index", PipelineConfig.offline())
    new = draw_dataset(tmp_path / "new", ["stripes"], 1, seed=9) / "stripes" / "00.png"
    (added,) = edits.add([new], "stripes").changes.added
    contents = read_index(tmp_path / "index")
    assert contents.file_of(added).read_bytes() == new.read_bytes()
    assert check_index(tmp_path / "index")[-1].what.startswith("the transform was fitted")


def test_parts_keep_their_transform(tmp_path):
    """The index of some labels can be saved too, with the transform that it is compared in."""
    images = draw_dataset(tmp_path / "images", count=4)
    build_index_from_directory(images, tmp_path / "built.npz", config=PipelineConfig.offline())
    part = Index.open(tmp_path / "built.npz").only(["stripes", "gingham"])
    part.save(tmp_path / "part.npz")
    assert (Index.open(tmp_path / "part.npz").gallery.embeddings == part.gallery.embeddings).all()
