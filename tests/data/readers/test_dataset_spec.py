"""The specification of a dataset and its text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.readers.dataset_spec import DatasetSpec, local_path, moved

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
CHOICE = st.none() | TEXT


@given(TEXT, CHOICE, CHOICE, CHOICE)
def test_what_is_stored_is_read_back(name, label, group, split):
    """Names with `#`, `&` and `=` too; relative paths become absolute."""
    spec = DatasetSpec(f"/data/{name.replace('/', '').replace('.', '')}x", label, None, group, None, split)
    read = DatasetSpec.from_stored(spec.stored())
    assert read == spec.fixed()
    assert DatasetSpec.from_stored(read.stored()) == read


def test_a_folder_alone_is_its_path(tmp_path, monkeypatch):
    """So that its text is what people know."""
    monkeypatch.chdir(tmp_path)
    assert DatasetSpec("images").stored() == str(tmp_path / "images")
    assert DatasetSpec("~/images").stored() == str(Path.home() / "images")
    assert local_path(str(tmp_path)) == tmp_path
    assert local_path("s3://bucket/x") is None
    assert local_path("coco:/a@/b") is None


def test_both_parts_of_annotations_become_absolute(tmp_path, monkeypatch):
    """An `@` in the name of the file is no border."""
    monkeypatch.chdir(tmp_path)
    assert DatasetSpec("coco:a@b.json@images").stored() == f"coco:{tmp_path / 'a@b.json'}@{tmp_path / 'images'}"
    with pytest.raises(DatasetError, match="does not name the images"):
        DatasetSpec("voc:boxes").stored()


def test_a_folder_of_voc_names_both(tmp_path):
    """Its parts have fixed names."""
    for part in ("Annotations", "JPEGImages"):
        with pytest.raises(DatasetError, match="does not name the images"):
            DatasetSpec(f"voc:{tmp_path}").stored()
        (tmp_path / part).mkdir()
    assert DatasetSpec(f"VOC:{tmp_path}").stored() == f"voc:{tmp_path}/Annotations@{tmp_path}/JPEGImages"


def test_prefixes_may_be_capitals():
    """A stored specification has small letters."""
    assert DatasetSpec("COCO:/a.json@/b").stored() == "coco:/a.json@/b"
    assert DatasetSpec("HF:owner/name").stored() == "hf:owner/name"


@pytest.mark.parametrize("text", ["/a#source=x", "/a#no_such=1", "/a#label_from=1&&", "/a#label_from"])
def test_other_text_is_refused(text):
    """A damaged specification is one clear error."""
    with pytest.raises(DatasetError, match="not the specification"):
        DatasetSpec.from_stored(text)


def test_a_dataset_that_moved_keeps_its_choices():
    """Only a whole specification changes them."""
    former = DatasetSpec("/a.csv", label_from="kind")
    assert moved(former, "/b.csv") == DatasetSpec("/b.csv", label_from="kind")
    assert moved(former, None) is former
    assert moved(former, DatasetSpec("/c")) == DatasetSpec("/c")
    with pytest.raises(DatasetError, match="NUL"):
        DatasetSpec("a\0b").stored()
