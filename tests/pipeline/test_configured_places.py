"""The configured encoders are found among those of an index without opening any."""

from dataclasses import dataclass

import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.pipeline.configured_places import likely_places


@dataclass
class Stored:
    """What is read of a manifest."""

    fingerprints: list[Fingerprint]


def stored(*encoders):
    return Stored(
        [Fingerprint(backend, model, "1", "RGB", 4, "float32", view=view) for backend, model, view in encoders]
    )


LADDER = [("transformers", "large", ""), ("transformers", "small", ""), ("descriptor", "descriptor", "center 0.5")]
LARGE, SMALL = {"backend": "siglip", "model": "hub/large"}, {"backend": "openvino", "model": "small"}
CENTER = {"backend": "descriptor", "view": "center 0.50"}


@pytest.mark.parametrize(
    ("configured", "places"),
    [
        ([LARGE, SMALL, CENTER], (0, 1, 2)),
        ([CENTER, SMALL], (2, 1)),
        ([{**LARGE, "model": "renamed"}, {**SMALL, "model": "moved"}], (0, 1)),
        ([{**CENTER, "view": None}], None),
        ([LARGE, SMALL, {**LARGE, "model": "third"}], None),
        ([{"backend": "lite"}], None),
    ],
)
def test_places(configured, places):
    """By backend, view and name of the model; a model with another name may be the same. Each is found once."""
    assert likely_places(stored(*LADDER), PipelineConfig(encoder=configured).encoders) == places
