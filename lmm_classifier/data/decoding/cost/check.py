"""Estimate what decoding a file costs from its structure, before a decoder sees it, and refuse what costs too much.

JPEG, PNG, GIF and BMP are decoded in this process, so their cost must be known before. The estimates are upper bounds:
a factor per byte, pixel, scan and chunk, measured on one core of a server of 2024 and rounded up. The other formats are
decoded in processes whose time and memory are limited; see `decoder_pool`.
"""

from __future__ import annotations

from lmm_classifier.core.errors import ImageTooLargeError
from lmm_classifier.data.decoding.cost.bmp import add_bmp
from lmm_classifier.data.decoding.cost.estimate import CostEstimate
from lmm_classifier.data.decoding.cost.gif import add_gif
from lmm_classifier.data.decoding.cost.jpeg import add_jpeg
from lmm_classifier.data.decoding.cost.png import add_png
from lmm_classifier.data.limits import ImageLimits, check_size, too_much_memory

_ESTIMATED = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM")
_UNKNOWN_RATIO = 64  # pixels in memory to bytes in the file, of formats whose structure is not read
_LEAST, _MOST = 32_000_000, 300_000_000  # bytes of memory for them


def is_estimated(data: bytes) -> bool:
    """Return whether the cost of a file follows from its structure: it is a JPEG, PNG, GIF or BMP."""
    return data.startswith(_ESTIMATED)


def estimate_cost(data: bytes, max_seconds: float, min_side: int | None = None) -> CostEstimate:
    """Estimate the cost of decoding a file, without a refusal; reading stops where the time is above `max_seconds`."""
    estimate = CostEstimate(max_seconds, len(data))
    if data.startswith(b"\xff\xd8"):
        add_jpeg(estimate, data, min_side)
    elif data.startswith(b"\x89PNG"):
        add_png(estimate, data)
    elif data.startswith(b"GIF8"):
        add_gif(estimate, data)
    elif data.startswith(b"BM"):
        add_bmp(estimate, data)
    else:
        estimate.memory += min(max(len(data) * _UNKNOWN_RATIO, _LEAST), _MOST)
    return estimate


def check_cost(data: bytes, limits: ImageLimits, min_side: int | None = None) -> int:
    """Estimate the cost of decoding a file.

    Args:
        data: the bytes of the file.
        limits: what decoding may cost.
        min_side: the side in pixels that is needed; a large JPEG is then decoded at a reduced scale.

    Returns:
        Bytes of memory at the peak, those of the file included. For formats whose structure is not read it is a guess.

    Raises:
        CorruptImageError: there are no pixels.
        ImageTooLargeError: the estimate is above the limits; the message names what was found.
    """
    estimate = estimate_cost(data, limits.max_seconds, min_side)
    if estimate.size is not None:
        check_size(estimate.size, limits)
    if estimate.exceeded:
        raise ImageTooLargeError(
            f"decoding would take about {estimate.seconds:.2g} s of processor time ({estimate.main_reason}), at most "
            f"{limits.max_seconds:g} s are spent on one image: save it again, or raise images.max_seconds"
        )
    if is_estimated(data):
        if estimate.memory > limits.max_memory:
            raise too_much_memory(estimate.memory, estimate.main_reason, limits)
    elif 2 * len(data) > limits.max_memory:
        raise too_much_memory(2 * len(data), f"{len(data):,} bytes, in this process and its decoder", limits)
    return estimate.memory
