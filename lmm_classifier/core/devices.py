"""Choose the device and the number type that torch computes with; the caller passes torch in."""

from __future__ import annotations

import gc
from typing import Any


def choose_device(torch: Any, name: str) -> str:
    """Return `name`, or for "auto" the first available device of cuda, mps and cpu."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def require_device(torch: Any, device: str) -> None:
    """Raise ValueError if torch cannot compute on a device here; the message says why, and what to set."""
    kind, separator, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (separator and not (number.isascii() and number.isdigit())):
        raise ValueError(f"{device!r} is no device; expected auto, cpu, cuda, cuda:1 or mps")
    if kind == "cuda":
        _require_cuda(torch, device, int(number or 0))
    elif kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"{device!r} is not available: this machine has no Metal device; set it to auto or cpu")


def _require_cuda(torch: Any, device: str, number: int) -> None:
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        raise ValueError(
            f"{device!r} is not available: torch {torch.__version__} was built for the CPU only. Install a build with "
            "CUDA (https://pytorch.org/get-started/locally), or set it to auto or cpu"
        )
    if not torch.cuda.is_available():
        raise ValueError(
            f"{device!r} is not available: torch finds no GPU. Check the driver (nvidia-smi) and CUDA_VISIBLE_DEVICES, "
            "or set it to auto or cpu"
        )
    if number >= (count := torch.cuda.device_count()):
        raise ValueError(f"{device!r} is not available: there are {count} GPUs, cuda:0 to cuda:{count - 1}")


def choose_dtype(torch: Any, name: str, device: str) -> Any:
    """Return the torch dtype called `name`; "auto" is bfloat16 where the device computes in it, else float32."""
    if name != "auto":
        return getattr(torch, name)
    if device.startswith("cuda"):
        with torch.cuda.device(device):  # torch answers for the current device
            has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bfloat16 = device.partition(":")[0] == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if has_bfloat16 else torch.float32


_NO_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch, or of a library that it calls, says that a device has too little memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _NO_MEMORY)


def free_memory(torch: Any) -> None:
    """Give unused memory back to the device. Activations that an error's traceback holds are not unused."""
    gc.collect()
    torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
