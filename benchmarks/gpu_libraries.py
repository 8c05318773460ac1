"""What the libraries below a language model do on this GPU, where they are known to differ from one to another.

Attention of rows that see no key: some kernels give NaN there, and a few also elsewhere. The patch embedding of
Qwen2-VL in bfloat16: as a convolution it is many times slower than as a matrix product in some versions of torch.

Run `python -m benchmarks.gpu_libraries` on a machine with CUDA; `--device cpu` tries the code.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu import synchronized
from benchmarks.rows import where
from benchmarks.side_by_side import in_turns

_KERNELS = (None, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
_UNSEEN = 40  # the first rows of the second sequence see no key


def attention(device: str) -> Iterator[str]:
    """Yield a line per kernel: whether rows that see no key are NaN, and whether others are."""
    query = torch.randn(2, 28, 300, 128, device=device, dtype=torch.bfloat16)
    mask = torch.ones(300, 300, dtype=torch.bool, device=device).tril().repeat(2, 1, 1, 1)
    mask[1, :, :, :_UNSEEN] = False
    for kernel in _KERNELS:
        name = "the default" if kernel is None else kernel.name
        try:
            with nullcontext() if kernel is None else sdpa_kernel(kernel):
                output = torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
        except RuntimeError as error:
            yield f"attention by {name}: not available ({str(error).splitlines()[0][:60]})"
            continue
        unseen, others = output[1, :, :_UNSEEN].isnan().any(), output[1, :, _UNSEEN:].isnan().any()
        yield f"attention by {name}: NaN in rows without keys {bool(unseen)}, elsewhere {bool(others)}"


def patch_embedding(device: str, count: int) -> str:
    """Return the milliseconds of the patch embedding of Qwen2-VL, as a convolution and as a product."""
    patches = torch.randn(count, 3, 2, 14, 14, device=device, dtype=torch.bfloat16)
    convolution = torch.nn.Conv3d(3, 1280, (2, 14, 14), (2, 14, 14), bias=False).to(device, torch.bfloat16)
    weight = convolution.weight.flatten(1)
    with torch.inference_mode():
        jobs = {"conv": lambda: convolution(patches), "product": lambda: patches.flatten(1) @ weight.T}
        times = in_turns({name: synchronized(device, job) for name, job in jobs.items()}, 5)
        difference = float((jobs["conv"]().flatten(1) - jobs["product"]()).abs().max())
    conv, product = (1000 * times[name].median for name in ("conv", "product"))
    return f"{count} patches: convolution {conv:.2f} ms, product {product:.2f} ms, greatest difference {difference:.2g}"


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the code")
    device = parser.parse_args().device
    on_cuda = device.startswith("cuda")
    name = torch.cuda.get_device_name() if on_cuda else device
    print(f"{name}, {where('torch')}, cuDNN {torch.backends.cudnn.version()}")
    for line in attention(device):
        print(line)
    print(patch_embedding(device, 16_384 if on_cuda else 256))


if __name__ == "__main__":
    main()
