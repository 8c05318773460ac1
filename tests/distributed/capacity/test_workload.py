"""Numbers of a workload and prices are checked."""

import math

import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.distributed.capacity.workload import CapacityPrices, Workload


@pytest.mark.parametrize(
    "numbers", [{"images": 0}, {"labels": 0}, {"new_images": -1}, {"gpus": 0}, {"images": 1.5}, {"images": math.inf}]
)
def test_a_number_out_of_range_is_refused(numbers):
    """The message names it."""
    (name,) = numbers
    with pytest.raises(ConfigError, match=name):
        Workload(**{"images": 10, "labels": 1, **numbers})


def test_more_labels_than_images_are_refused():
    """Each label has at least one image; as many are the boundary."""
    assert Workload(images=3, labels=3).rows_per_label == 1
    with pytest.raises(ConfigError, match="4 labels and 3 images"):
        Workload(images=3, labels=4)


def test_as_many_new_images_as_the_index_has():
    """Unless another number is given."""
    assert Workload(10, 2).classified == 10
    assert Workload(10, 2, new_images=3).classified == 3


@pytest.mark.parametrize("price", [-0.01, math.nan, math.inf])
def test_a_price_that_cannot_be_is_refused(price):
    """A price of zero may be; one that is not known is listed."""
    assert CapacityPrices(gpu_hour=0.0).missing == ["core_hour", "gb_month", "thousand_reads", "thousand_writes"]
    with pytest.raises(ConfigError, match="gpu_hour"):
        CapacityPrices(gpu_hour=price)
