"""What saturates, and from where on."""

import pytest

from lmm_classifier.distributed.capacity.assumptions import CapacityAssumptions
from lmm_classifier.distributed.capacity.estimate import CapacityEstimate
from lmm_classifier.distributed.capacity.limits import CapacityLimit, limits_of
from lmm_classifier.distributed.capacity.workload import Workload


def reached(images, labels, gpus=1, **assumed):
    estimate = CapacityEstimate(Workload(images, labels, gpus=gpus), CapacityAssumptions(**assumed))
    return {limit.name for limit in limits_of(estimate) if limit.is_reached}


def test_what_is_just_enough_is_enough():
    """The boundary is not reached."""
    assert not CapacityLimit("", 5.0, 5.0, "", "").is_reached
    assert "images on one machine" not in reached(5_000_000, 10)
    assert "images on one machine" in reached(5_000_001, 10)


@pytest.mark.parametrize(
    ("name", "free", "full"),
    [
        ("rows listed in one process", {"images": 10**7}, {"images": 2 * 10**7}),
        ("dense scores of a calibration", {"labels": 10**5}, {"labels": 10**7}),
        ("graph in memory", {"images": 10**8}, {"images": 10**9}),
        ("centers and means in memory", {"labels": 10**6}, {"labels": 10**8}),
        ("decoding next to a GPU", {}, {"decode_ms": 100.0}),
        ("reads of image files", {"gpus": 64}, {"gpus": 128}),
        ("writing and sorting against encoding", {"gpus": 1}, {"gpus": 10_000}),
        ("rows of the labels that compete", {"labels": 10**5}, {"labels": 10**3}),
        ("reranking against encoding", {"reranked_share": 0.01}, {"reranked_share": 0.5}),
    ],
)
def test_each_limit_is_met_by_what_it_is_about(name, free, full):
    """One number decides each, between 10^8 and 10^9 images."""
    usual = {"images": 10**8, "labels": 10**5}
    assert name not in reached(**{**usual, **free})
    assert name in reached(**{**usual, **full})
