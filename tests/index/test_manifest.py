"""An index says by which rules its images were decoded, and one of other rules is refused or built again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError, IndexMismatchError
from lmm_classifier.core.fingerprint import DECODING, Fingerprint
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.view import CenterView
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.encoders import ColorEncoder, LayoutEncoder


class FormerEncoder(DescriptorEncoder):
    """The descriptor of a program that showed colors as they are stored."""

    fingerprint = replace(DescriptorEncoder.fingerprint, decoding="")


@pytest.fixture
def place(tmp_path):
    draw_dataset(tmp_path / "images", ["stripes", "gingham"], 4)
    return tmp_path


def test_a_manifest_without_a_note_is_of_the_former_rules():
    """Before color profiles were applied, a manifest did not say how images were decoded."""
    manifest = Manifest((EncoderEntry(DescriptorEncoder.fingerprint, "identity"),), 3, "images", "now", "0.1.0")
    values = json.loads(manifest.to_json())
    assert values["encoders"][0]["fingerprint"]["decoding"] == DECODING
    assert Manifest.from_json(json.dumps(values), "x") == manifest
    del values["encoders"][0]["fingerprint"]["decoding"]
    former = Manifest.from_json(json.dumps(values), "x").fingerprints[0]
    assert former == FormerEncoder.fingerprint
    assert former.differences(DescriptorEncoder.fingerprint) == ["decoding"]
    assert former.space_id != DescriptorEncoder.fingerprint.space_id
    assert "colors as stored" in str(former)
    assert DECODING in str(DescriptorEncoder.fingerprint)


def test_a_space_keeps_its_name():
    """Vectors are stored under it, so that an index that was built before is still found, edited and built again."""
    fields = ("onnx", "model", "digest", "squash", 8, "float32")
    assert Fingerprint(*fields, decoding="").space_id == "88d2adb78cfcffa9"


@pytest.mark.parametrize("name", ["index", "index.npz"])
def test_an_index_of_former_rules_is_refused_with_both_fingerprints_and_what_to_do(place, name):
    """Neither its images nor new ones are compared with vectors of other colors."""
    path = place / name
    config = offline_config(path)
    build_index_from_directory(place / "images", path, config=config, encoder=FormerEncoder())
    with pytest.raises(IndexMismatchError) as caught:
        HybridClassifier(config)
    parts = (FormerEncoder.fingerprint, DescriptorEncoder.fingerprint, path, "lmm-classifier build", "other rules")
    assert all(str(part) in str(caught.value) for part in parts)
    build_index_from_directory(place / "images", path, config=config)
    with_stripes = HybridClassifier(config).classify(draw("stripes", np.random.default_rng(3), 96))
    assert with_stripes.candidates[0].label == "stripes"


def test_edits_by_hand_survive_the_new_build(place):
    """A sync that would mix rules is refused; a build encodes all again and keeps labels and examples by hand."""
    path = place / "index"
    config = offline_config(path)
    build_index_from_directory(place / "images", path, config=config, encoder=FormerEncoder())
    former = IndexEditor(path, config, FormerEncoder())
    former.add([draw("tartan", np.random.default_rng(4), 64)], "tartan")
    editor = IndexEditor(path, config)
    editor.relabel(["stripes/00.png"], "lines")
    draw("stripes", np.random.default_rng(5), 64).save(place / "images" / "stripes" / "new.png")
    with pytest.raises(IndexMismatchError, match="other rules"):
        editor.sync()
    report = build_index_from_directory(place / "images", path, config=config)
    assert report.changes.encoded == 9
    index = Index.open(path, DescriptorEncoder.fingerprint)
    assert len(index) == 10
    labels = {example.path: example.label for example in index.examples}
    assert labels["stripes/00.png"] == "lines"
    assert "tartan" in labels.values()


SEVERAL = tuple(EncoderEntry(encoder.fingerprint, "identity") for encoder in (ColorEncoder, LayoutEncoder))
CENTER = EncoderEntry(CenterView(ColorEncoder(), "center 0.5").fingerprint, "identity")


@pytest.mark.parametrize("entries", [SEVERAL, (*SEVERAL[::-1], CENTER)])
def test_several_encoders_are_read_back_in_their_order(entries):
    """With their names and the digests under which their vectors are stored."""
    manifest = Manifest(entries, 3, "images", "now", "0.1.0")
    read = Manifest.from_json(manifest.to_json(), "x")
    assert read == manifest
    assert read.fingerprints == tuple(entry.fingerprint for entry in entries)
    assert len(set(read.space_ids)) == len(set(read.encoder_names)) == len(entries)


def without_view(values):
    for entry in values["encoders"]:
        entry["fingerprint"]["view"] = ""


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.update(encoders=[]),
        lambda values: values.update(encoders={}),
        lambda values: values.update(encoders=None),
        lambda values: values.pop("encoders"),
        lambda values: values["encoders"].append(values["encoders"][0]),
        without_view,
        lambda values: values["encoders"].append("color"),
        lambda values: values["encoders"][1].pop("transform"),
        lambda values: values["encoders"][1].update(transform=3),
        lambda values: values["encoders"][1].update(weight=3),
        lambda values: values["encoders"][1].update(fingerprint=None),
        lambda values: values["encoders"][1]["fingerprint"].update(dim="64"),
        lambda values: values["encoders"][1]["fingerprint"].update(dim=0),
        lambda values: values["encoders"][1]["fingerprint"].update(dim=True),
        lambda values: values["encoders"][1]["fingerprint"].update(view=None),
        lambda values: values["encoders"][1]["fingerprint"].update(backend=["color"]),
        lambda values: values["encoders"][1]["fingerprint"].pop("model"),
    ],
)
def test_impossible_encoders_are_damage(damage):
    """Of whichever place, and also one that is there twice."""
    values = json.loads(Manifest((*SEVERAL, CENTER), 3, "images", "now", "0.1.0").to_json())
    damage(values)
    with pytest.raises(IndexFileError, match="x has a damaged manifest"):
        Manifest.from_json(json.dumps(values), "x")
