"""Batches of prompts within the memory of the device."""

import logging
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import RerankerError
from lmm_classifier.rerank.token_batches import TokenBatches


class Tensor:
    """What a forward pass holds in memory."""


@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=8), max_size=8), st.integers(20, 200))
def test_no_batch_exceeds_the_limit(lengths, most):
    """Each prompt is computed once, in order, and requests are only split that exceed the limit alone."""
    flat = [length for request in lengths for length in request]
    owners = [number for number, request in enumerate(lengths) for _ in request]
    batches = []

    def compute(batch):
        batches.append(batch)
        return [-place for place in batch]

    assert TokenBatches(None, "cpu", most).run(flat, owners, compute) == [-place for place in range(len(flat))]
    assert [place for batch in batches for place in batch] == list(range(len(flat)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(flat[place] for place in batch) <= most
    for number, request in enumerate(lengths):
        if len(request) * max(request) <= most:
            assert sum(any(owners[place] == number for place in batch) for batch in batches) == 1


@pytest.mark.parametrize(
    "error",
    [
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."),
        *(
            pytest.param(error, marks=pytest.mark.long)
            for error in (
                MemoryError(),
                RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
                RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
            )
        ),
    ],
)
def test_where_memory_runs_out_the_batch_is_halved(error, caplog):
    """What the failed pass held is gone before the next one starts, and the smaller size is kept."""
    held, sizes = [], []

    def compute(batch):
        assert all(reference() is None for reference in held), "the tensors of the failed pass are alive"
        activations = Tensor()
        held.append(weakref.ref(activations))
        sizes.append(len(batch))
        if len(batch) > 2:
            raise error.with_traceback(None)
        return batch

    batches = TokenBatches(None, "cpu", 80)
    with caplog.at_level(logging.WARNING):
        assert batches.run([10] * 8, range(8), compute) == list(range(8))
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert (batches.most, "20 tokens at a time" in caplog.text) == (20, True)


def test_a_prompt_that_never_fits_is_an_error():
    """One prompt alone is not tried again; the error says what to lower."""

    def compute(batch):
        raise MemoryError

    with pytest.raises(RerankerError, match="rerank.prompt.max_visual_tokens"):
        TokenBatches(None, "cpu", 100).run([10, 10], [0, 0], compute)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def compute(batch):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        TokenBatches(None, "cpu").run([1], [0], compute)
