"""The configured encoders are found among those of an index, in any order, or the error says what to do."""

from dataclasses import replace

import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import IndexMismatchError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.embeddings.view import CenterView
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.matching import likely_places, places_of, require_backends
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, NoiseEncoder

COLOR, LAYOUT, NOISE = (encoder.fingerprint for encoder in (ColorEncoder, LayoutEncoder, NoiseEncoder))
CENTER = CenterView(ColorEncoder(), "center 0.5").fingerprint


def manifest(*fingerprints):
    return Manifest(tuple(EncoderEntry(fingerprint, "identity") for fingerprint in fingerprints), 3, "/d", "", "")


def test_encoders_are_found_in_any_order():
    """All of them, or some."""
    of_index = manifest(COLOR, CENTER, LAYOUT)
    assert places_of(of_index, [LAYOUT, COLOR, CENTER], "i") == (2, 0, 1)
    assert places_of(of_index, [CENTER], "i") == (1,)
    assert places_of(of_index, [], "i") == ()


def test_another_number_type_is_found_with_a_warning(caplog):
    """Similarities differ a little; the other encoder causes no warning."""
    assert places_of(manifest(COLOR, LAYOUT), [LAYOUT, replace(COLOR, dtype="bfloat16")], "i") == (1, 0)
    assert len(caplog.records) == 1
    assert "computed in float32, but this encoder computes in bfloat16" in caplog.text


def test_an_encoder_without_vectors_is_refused_with_all_names():
    """The fields are those in which it differs from the most similar one."""
    with pytest.raises(IndexMismatchError) as caught:
        places_of(manifest(LAYOUT, COLOR), [COLOR, CENTER], "index x")
    for part in ("Index index x", "(view differ)", f"the encoders {LAYOUT} and {COLOR}", str(CENTER), "build"):
        assert part in str(caught.value)
    former = replace(COLOR, decoding="")
    with pytest.raises(IndexMismatchError, match="decoded by other rules"):
        places_of(manifest(LAYOUT, former), [COLOR], "i")


def test_impossible_backends_are_refused_before_anything_is_loaded():
    """Each configured encoder needs one of the index under one of the names of its backend."""
    of_index = manifest(COLOR, LAYOUT)
    require_backends(of_index, [["layout"], ["other", "color"], ["color"]], "i")
    with pytest.raises(IndexMismatchError, match=r"encoder\.backend is 'noise'.*set encoder\.backend to 'color'\)"):
        require_backends(manifest(COLOR), [["noise", "none"]], "i")


def test_the_configuration_of_an_index_is_that_of_all_its_encoders():
    """Advice to use one of several would lose the others, and the calibration with them."""
    with pytest.raises(IndexMismatchError) as caught:
        require_backends(manifest(COLOR, CENTER, LAYOUT), [["noise"]], "i")
    all_of_them = "a list of 3 encoders, whose encoder.backend is 'color', 'color' with view center 0.5, 'layout'"
    assert all_of_them in str(caught.value)
    assert "set encoder.backend" not in str(caught.value)


def test_the_difference_from_each_similar_encoder_is_said():
    """Other weights are not hidden by a view that differs less, nor told apart from an encoder of another kind."""
    with pytest.raises(IndexMismatchError) as caught:
        places_of(manifest(replace(COLOR, model="8bit", revision="8"), LAYOUT, CENTER), [COLOR], "i")
    names = (replace(COLOR, model="8bit").name, CENTER.name)
    assert f"({names[0]}: model, revision differ; {names[1]}: view differ)" in str(caught.value)


LADDER = [
    Fingerprint(backend, model, "1", "RGB", 4, "float32", view=view)
    for backend, model, view in (
        ("transformers", "large", ""),
        ("transformers", "small", ""),
        ("descriptor", "", "center 0.5"),
    )
]
LARGE, SMALL = {"backend": "siglip", "model": "hub/large"}, {"backend": "openvino", "model": "small"}
CENTRAL = {"backend": "descriptor", "view": "center 0.50"}


@pytest.mark.parametrize(
    ("configured", "places"),
    [
        ([LARGE, SMALL, CENTRAL], (0, 1, 2)),
        ([CENTRAL, SMALL], (2, 1)),
        ([{**LARGE, "model": "renamed"}, {**SMALL, "model": "moved"}], (0, 1)),
        ([{**CENTRAL, "view": None}], None),
        ([LARGE, SMALL, {**LARGE, "model": "third"}], None),
        ([{"backend": "lite"}], None),
    ],
)
def test_likely_places(configured, places):
    """By backend, view and name of the model; a model with another name may be the same. Each is found once."""
    assert likely_places(manifest(*LADDER), PipelineConfig(encoder=configured).encoders) == places
