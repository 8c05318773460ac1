"""What was found as plain values."""

import json

from lmm_classifier.core.progress import Skipped
from lmm_classifier.discovery.proposals.discovery import Discovery, ProposedGroup


def test_plain_values():
    """All members and counts are there; places are not."""
    group = ProposedGroup(1, "b", ["a", "b"], ["a"], None, None)
    skipped = [Skipped("x.png", "broken", "corrupt"), Skipped("y.txt", "text", "ignored")]
    found = Discovery([group], 1, [], {"hat": 2}, ["c"], 5, 9, 3, 1, 4, skipped, {"a": "place"})
    values = json.loads(json.dumps(found.to_dict()))
    assert values["groups"] == [
        {
            "number": 1,
            "representative": "b",
            "members": ["a", "b"],
            "shown": ["a"],
            "nearest_label": None,
            "nearest_similarity": None,
            "size": 2,
        }
    ]
    assert (values["unreadable"], values["sampled_out"], values["labeled"], values["known"]) == (1, 3, 1, {"hat": 2})
    assert "places" not in values
