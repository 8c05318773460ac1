"""Chunks are named by what they are made of, and cut where the names of files say."""

import time
from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import OutputError
from lmm_classifier.distributed.chunks import Chunk, chunk_name, cut, list_chunks, made_with
from lmm_classifier.distributed.listing import ListedFile

OLD = 1_600_000_000 * 10**9


path = attrgetter("path")


def listed(count, start=0):
    return [ListedFile(f"label/{number:06}.png", "label", 100 + number, OLD, OLD) for number in range(start, count)]


@given(st.integers(0, 300), st.integers(1, 64))
def test_each_file_is_in_one_chunk(count, most):
    """In order, and no chunk is empty or too large."""
    parts = list(cut(listed(count), most, path))
    assert [file for part in parts for file in part] == listed(count)
    assert all(1 <= len(part) <= most for part in parts)


def test_a_new_file_changes_few_chunks():
    """Wherever it is: all chunks before it, and nearly all behind it, keep their names."""
    before = {chunk_name(part, "", "x") for part in cut(listed(20_000), 256, path)}
    for place in (0, 7_777, 19_999):
        files = listed(20_000)
        files.insert(place, ListedFile(f"label/{place:06}.jpg", "label", 1, OLD, OLD))
        names = {chunk_name(part, "", "x") for part in cut(files, 256, path)}
        assert len(names - before) <= 4
    assert 20_000 / 256 < len(before) < 20_000 / 100


def test_a_name_depends_on_all_that_a_chunk_is_made_of():
    """Each field of a file, the encoders and the limits; but not on the order of the files."""
    files = listed(3)
    name = chunk_name(files, "images", "encoder")
    assert chunk_name(files[::-1], "images", "encoder") == name
    for field, value in (("path", "z"), ("label", "z"), ("size", 1), ("modified", 1), ("changed", 1)):
        assert chunk_name([*files[:2], files[2]._replace(**{field: value})], "images", "encoder") != name
    assert chunk_name(files[:2], "images", "encoder") != name
    assert chunk_name(files, "images", "other") != name


def test_the_source_counts_only_where_times_are_unknown():
    """A dataset that moved keeps its chunks; two that tell no times are never taken for one."""
    files = listed(3)
    assert chunk_name(files, "here", "x") == chunk_name(files, "there", "x")
    unknown = [file._replace(modified=0, changed=0) for file in files]
    assert chunk_name(unknown, "here", "x") != chunk_name(unknown, "there", "x")


@pytest.mark.parametrize("setting", ["max_pixels=1000", "max_bytes=1000", "fast_jpeg=false", "max_seconds=1"])
def test_what_chunks_are_made_with_depends_on_the_rules_of_decoding(setting):
    """And on the encoders."""
    config = PipelineConfig()
    before = made_with(["a"], config.images)
    assert made_with(["b"], config.images) != before
    assert made_with(["a", "b"], config.images) != before
    config.set(f"images.{setting}")
    assert made_with(["a"], config.images) != before


@given(st.lists(st.builds(ListedFile, st.text(), st.text(), st.integers(-1), st.integers(0), st.integers(0))))
def test_a_chunk_comes_back_from_its_bytes(files):
    """Whatever its names are, also those that are no Unicode."""
    chunk = Chunk("name", "a source\udcff", (*files, ListedFile("\udcff.png", "label", 1, 2, 3)))
    assert Chunk.from_bytes("name", chunk.to_bytes()) == chunk


@pytest.mark.parametrize("data", [b"", b"text", Chunk("n", "s", ()).to_bytes()[:-3]])
def test_damaged_bytes_of_a_chunk_are_told(data):
    """With what to do."""
    with pytest.raises(OutputError, match="Delete it and run again"):
        Chunk.from_bytes("name", data)


def test_a_file_that_changed_just_now_is_waited_for(monkeypatch):
    """It may change once more within one tick of the clock."""
    slept = []
    monkeypatch.setattr("lmm_classifier.distributed.chunks.time.sleep", slept.append)
    now = time.time_ns()
    list(list_chunks([ListedFile("a", "b", 1, now - 500_000_000, 0)], "", "x"))
    assert len(slept) == 1
    assert 0 < slept[0] <= 1.5
    list(list_chunks([ListedFile("a", "b", 1, now - 3_000_000_000, 0), ListedFile("a", "b", 1, 0, 0)], "", "x"))
    assert len(slept) == 1
