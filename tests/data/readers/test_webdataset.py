"""Webdataset shards: patterns, labels, damaged sidecars."""

import json

import pytest

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset
from lmm_classifier.data.readers.webdataset import shard_names
from tests.helpers.dataset_sources import write_tar


def opened(path, **choices):
    dataset = open_dataset(DatasetSpec(str(path), **choices), ImagesConfig())
    return {example.path: example.label for example in dataset.examples}, dataset


def test_patterns():
    """Numbers keep their width; several braces multiply."""
    assert shard_names("x.tar") == ["x.tar"]
    assert shard_names("a-{008..010}.tar") == ["a-008.tar", "a-009.tar", "a-010.tar"]
    assert shard_names("{0..1}-{0..1}.tar") == ["0-0.tar", "0-1.tar", "1-0.tar", "1-1.tar"]
    for wrong in ("{2..1}.tar", "{0..999999999}.tar"):
        with pytest.raises(DatasetError, match="expected at most"):
            shard_names(wrong)


def test_labels_of_samples(tmp_path):
    """From cls, txt or a field, or from where the options say."""
    members = {
        "a.png": b"1", "a.cls": b"3\n",
        "d/b.seg.png": b"2", "d/b.txt": b"cat", "d/b.json": json.dumps({"kind": "dog", "part": 4}).encode(),
        "c.png": b"3", "c.json": b'{"label": "bird", "part": 5}',
        "e.png": b"4", "e.cls": b"\xff\xfe\x00",
        "f.png": b"5", "f.json": b"[" * 5000,
        "g.cls": b"nothing",
    }  # fmt: skip
    path = write_tar(tmp_path / "x.tar", members)
    labels, dataset = opened(path, group_from="part")
    assert labels == {"a.png": "3", "d/b.seg.png": "cat", "c.png": "bird"}
    assert dict(zip((e.path for e in dataset.examples), dataset.groups)) == {
        "a.png": "",
        "c.png": "5",
        "d/b.seg.png": "4",
    }
    assert {file.path: file.kind for file in dataset.skipped} == {"e.png": "no_label", "f.png": "no_label"}
    assert opened(path, label_from="kind")[0] == {"d/b.seg.png": "dog"}


def test_a_missing_shard_is_named(tmp_path):
    """Nothing is built from a part of the shards."""
    write_tar(tmp_path / "x-0.tar", {"a.png": b"1", "a.cls": b"3"})
    with pytest.raises(DatasetError, match="cannot be read: it does not exist"):
        opened(tmp_path / "x-{0..1}.tar")
