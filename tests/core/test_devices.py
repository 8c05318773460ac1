"""The device that was asked for is the one that is asked; what it cannot do is said with what to set."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from lmm_classifier.core.devices import choose_device, choose_dtype, is_out_of_memory, require_device

torch = pytest.importorskip("torch", reason="torch is not installed")


class Machine:
    """What torch says of a machine; `bfloat16` has one answer per GPU, and `gpus` are those that it finds."""

    bfloat16, float32 = torch.bfloat16, torch.float32

    def __init__(self, bfloat16=(), cuda="12.8", metal=False, cpu_bfloat16=False):
        current = []

        @contextmanager
        def device(name):
            current.append(int(name.partition(":")[2] or 0))
            yield
            current.pop()

        def supported(including_emulation):
            assert including_emulation is False
            return bfloat16[current[-1] if current else 0]

        self.__version__ = "2.13.0"
        self.version = SimpleNamespace(cuda=cuda, hip=None)
        self.backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: metal))
        self.ops = SimpleNamespace(mkldnn=SimpleNamespace(_is_mkldnn_bf16_supported=lambda: cpu_bfloat16))
        self.cuda = SimpleNamespace(
            is_available=lambda: bool(bfloat16),
            device_count=lambda: len(bfloat16),
            device=device,
            is_bf16_supported=supported,
        )


@pytest.mark.parametrize(
    ("machine", "device"),
    [
        (Machine((True,)), "cuda"),
        (Machine(metal=True), "mps"),
        (Machine(), "cpu"),
        (Machine((True,), metal=True), "cuda"),
    ],
)
def test_auto_takes_the_best_device(machine, device):
    """A device by name stays what it is."""
    assert choose_device(machine, "auto") == device
    assert choose_device(machine, "cuda:1") == "cuda:1"


@pytest.mark.parametrize(("device", "dtype"), [("cuda", "float32"), ("cuda:0", "float32"), ("cuda:1", "bfloat16")])
def test_the_number_type_is_that_of_the_device_asked_for(device, dtype):
    """Next to an older GPU, the second one computes in bfloat16."""
    assert choose_dtype(Machine((False, True)), "auto", device) == getattr(torch, dtype)


def test_number_types_of_other_devices():
    """A CPU says it itself, Metal computes in float32, and a type by name stays."""
    assert choose_dtype(Machine(cpu_bfloat16=True), "auto", "cpu") == torch.bfloat16
    assert choose_dtype(Machine(cpu_bfloat16=True), "auto", "mps") == torch.float32
    assert choose_dtype(torch, "float16", "cpu") == torch.float16
    assert choose_dtype(torch, "auto", "cpu") in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(
    ("machine", "device", "reason"),
    [
        (Machine(cuda=None), "cuda", "'cuda' is not available: torch 2.13.0 was built for the CPU only"),
        (Machine(), "cuda:0", "'cuda:0' is not available: torch finds no GPU"),
        (Machine((True, True)), "cuda:2", "there are 2 GPUs, cuda:0 to cuda:1"),
        (Machine(), "mps", "no Metal device"),
        (Machine(), "gpu", "'gpu' is no device; expected auto, cpu, cuda, cuda:1 or mps"),
        (Machine((True,)), "cuda:x", "is no device"),
        (Machine((True,)), "cuda:", "is no device"),
    ],
)
def test_a_device_that_cannot_be_used(machine, device, reason):
    """The message says why, and what to install or to set."""
    with pytest.raises(ValueError, match=reason):
        require_device(machine, device)


def test_devices_that_can_be_used():
    """The real torch has a CPU."""
    require_device(torch, "cpu")
    for device in ("cuda", "cuda:1"):
        require_device(Machine((True, True)), device)
    require_device(Machine(metal=True), "mps")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            True,
        ),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_that_the_memory_is_used_up(error, expected):
    """Libraries below torch say so in words only."""
    assert is_out_of_memory(error) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_gpu_of_this_machine_can_be_used():
    """Each answers for itself, and the one after the last is refused."""
    for number in range(torch.cuda.device_count()):
        require_device(torch, f"cuda:{number}")
        with torch.cuda.device(number):
            has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        assert (choose_dtype(torch, "auto", f"cuda:{number}") == torch.bfloat16) == has_bfloat16
    with pytest.raises(ValueError, match="GPUs"):
        require_device(torch, f"cuda:{torch.cuda.device_count()}")
