"""The formulas of an estimate, for collections of every size."""

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.distributed.capacity.assumptions import CapacityAssumptions
from lmm_classifier.distributed.capacity.estimate import CapacityEstimate
from lmm_classifier.distributed.capacity.workload import Workload

QUANTITIES = [
    name
    for name in vars(CapacityEstimate)
    if isinstance(getattr(CapacityEstimate, name), property) and name not in {f.name for f in fields(CapacityEstimate)}
]


def estimated(images, labels, **assumed):
    return CapacityEstimate(Workload(images, labels), CapacityAssumptions(**assumed))


@given(st.integers(1, 10**11), st.floats(0, 1))
def test_every_quantity_is_positive_and_grows(images, share):
    """Twice as many images with as many labels need no less of anything, but for what a core answers in a second."""
    labels = max(1, round(images * share))
    small, large = estimated(images, labels), estimated(2 * images, labels)
    for name in QUANTITIES:
        before, after = getattr(small, name), getattr(large, name)
        assert before > 0, name
        if name == "queries_per_core_second":
            assert after <= before * (1 + 1e-9)
        elif name not in ("scanned_bytes", "scan_ms", "query_core_ms"):  # a list more may make each list shorter
            assert after >= before * (1 - 1e-9), name


def test_no_more_is_read_than_there_is():
    """Of a small index: not more labels, rows or lists than it has."""
    small = estimated(100, 2, label_rows=30.0)
    assert small.label_rows == 100
    assert small.label_rows_read == 60
    assert small.rescored_bytes == 100 * 1152 * 4
    assert small.scanned_bytes == 100 * (1152 / 8 + 8)


def test_all_images_may_be_reranked_but_not_more():
    """A share above one is one."""
    assert estimated(1000, 2, reranked_share=3.0).reranked == 1000


def test_assumptions_replace_what_the_names_say():
    """With an encoder and a GPU of no table."""
    workload = Workload(1000, 2, gpu="mine", encoder="mine")
    own = CapacityEstimate(workload, CapacityAssumptions(gpu_tflops=100, encoder_gflop=50, vector_numbers=64))
    assert own.images_per_gpu_second == 2000
    assert own.vector_bytes == 1000 * 64 * 4
