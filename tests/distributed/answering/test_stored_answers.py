"""Stored results are read back as they were."""

import numpy as np
import pytest

from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Neighbor
from lmm_classifier.core.errors import OutputError
from lmm_classifier.distributed.answering.stored_answers import from_lines, to_lines

FULL = Classification(
    "tulip",
    0.1 + 0.2,
    True,
    Decision("accept", "reranked"),
    (
        Candidate("tulip", 2 / 3, (Neighbor(Example("a\udcff.jpg", "tulip"), 1 / 7),), 0.5, "siglip"),
        Candidate("x", 0, ()),
    ),
    similarity=0.1,
    familiarity=-np.pi,
    path="new/\udcff.jpg",
    content_hash="ab",
    error="none\n",
    prediction_set=("tulip", "rose"),
    encoders=("siglip", "dino"),
    disagreement=0.25,
    probabilities={"tulip": 0.7, "rose": 0.3},
    vector=np.array([0.1, 1 / 3], np.float32),
    adaptations=("estimated_priors",),
    label_path=("plants", "tulip"),
    level=0,
)
EMPTY = Classification("unknown", 0.0, False, Decision("reject", "unreadable"), (), label_path=(), prediction_set=())


def test_results_are_read_back_as_they_were():
    """To the last bit, in order, with names that are no Unicode."""
    found = from_lines(to_lines([FULL, EMPTY]), "answers")
    assert found == [FULL, EMPTY]
    assert found[0].vector.tobytes() == FULL.vector.tobytes()
    assert found[0].vector.dtype == np.float32
    assert (found[0].to_json(), found[1].to_json()) == (FULL.to_json(), EMPTY.to_json())
    assert (hash(found[0]), found[1].vector) == (hash(FULL), None)


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[1]\n", b'{"label": 1}\n', to_lines([FULL])[:-40]])
def test_damage_is_an_error(data):
    """That names the file."""
    with pytest.raises(OutputError, match="answers/x is damaged"):
        from_lines(data, "answers/x")
