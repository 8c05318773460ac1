"""Devices, and the errors of those that have too little memory."""

import pytest

from lmm_classifier.core.devices import is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error, expected):
    """Libraries below torch report it as a plain RuntimeError."""
    assert is_out_of_memory(error) is expected


def test_the_error_of_torch_is_one():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
