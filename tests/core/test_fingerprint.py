"""Fingerprints name their differences, and have names that tell them apart."""

from dataclasses import replace

import pytest

from lmm_classifier.core.fingerprint import Fingerprint, encoder_names


def test_a_backend_of_two_names_has_one_fingerprint():
    """An index that was built under one name opens under the other."""
    fields = ("m", "abc", "squash", 8, "float32")
    assert Fingerprint("siglip", *fields) == Fingerprint("transformers", *fields)
    assert Fingerprint("siglip", *fields).backend == "transformers"
    assert Fingerprint("siglip", *fields).space_id == "b3081cf6cf61f71b"  # it is on the disk
    assert Fingerprint("onnx", *fields).differences(Fingerprint("siglip", *fields)) == ["backend"]


def test_fingerprint_differences():
    """The fields that make vectors incomparable are named; the number type is not one of them."""
    first = Fingerprint("siglip", "m", "abc", "squash", 8, "float32")
    assert first.differences(Fingerprint("siglip", "other name", "abc", "squash", 8, "bfloat16")) == []
    assert first.differences(Fingerprint("onnx", "m", "abd", "crop", 9, "float32")) == [
        "backend",
        "revision",
        "preprocessing",
        "dim",
    ]
    assert Fingerprint("d", "m", "", "p", 1, "f").differences(Fingerprint("d", "n", "", "p", 1, "f")) == ["model"]


@pytest.mark.parametrize(
    ("model", "view", "name"),
    [
        ("google/siglip-base-patch16-224", "", "siglip-base-patch16-224"),
        ("/models/clip/", "", "clip"),
        ("C:\\models\\clip.onnx", "", "clip"),
        ("exports/model.onnx", "", "onnx"),
        ("", "", "onnx"),
        ("clip", "center 0.5", "clip center 0.5"),
    ],
)
def test_a_short_name_says_which_model_it_is(model, view, name):
    """The last part of its name, or the backend where that says nothing; and the view."""
    assert Fingerprint("onnx", model, "1", "p", 8, "float32", view=view).name == name


def test_names_of_several_encoders_differ():
    """By the backend, and where that is the same too by their number."""
    base = Fingerprint("onnx", "clip", "1", "p", 8, "float32")
    assert encoder_names([base]) == ["clip"]
    assert encoder_names([base, replace(base, view="center 0.5")]) == ["clip", "clip center 0.5"]
    assert encoder_names([base, replace(base, backend="openvino")]) == ["onnx clip", "openvino clip"]
    others = [replace(base, revision="2"), replace(base, backend="openvino")]
    assert encoder_names([base, *others]) == ["onnx clip #1", "onnx clip #2", "openvino clip"]


def test_a_view_is_another_space():
    """Whole images keep the digest that they had before there were views."""
    base = Fingerprint("onnx", "clip", "1", "p", 8, "float32")
    center = replace(base, view="center 0.5")
    assert center.space_id != base.space_id
    assert base.differences(center) == ["view"]
