"""A sum of time and memory."""

from lmm_classifier.data.decoding.cost.estimate import CostEstimate


def test_the_largest_part_is_the_reason():
    """Parts are added; the largest one names the reason."""
    estimate = CostEstimate(2.0, 100)
    assert (estimate.exceeded, estimate.memory) == (False, 100)
    for seconds, reason in ((0.5, "a"), (1.5, "b"), (0.25, "c")):
        estimate.add(seconds, reason)
    assert (estimate.seconds, estimate.main_reason, estimate.exceeded) == (2.25, "b", True)
