"""The limits of decoding: what one image may have, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lmm_classifier.core.errors import CorruptImageError, ImageTooLargeError, UndecodedImageError


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest image that is decoded, what its decoding may cost, and where files are decoded.

    Example:
        >>> from lmm_classifier.data import ImageLimits
        >>> ImageLimits(max_pixels=1_000_000).max_seconds
        2.0
    """

    max_pixels: int = 64_000_000  # width x height
    max_bytes: int = 256 << 20  # of the file
    decode_in_subprocess: Literal["auto", "all", "off"] = "auto"  # formats for a separate process
    max_seconds: float = 2.0  # processor time
    max_memory: int = 600_000_000  # bytes, those of the file included

    def to_request(self) -> dict[str, float]:
        """Return the limits that a decoder process needs; `from_request` reads them."""
        return {"max_pixels": self.max_pixels, "max_seconds": self.max_seconds, "max_memory": self.max_memory}

    @classmethod
    def from_request(cls, request: dict[str, float], size: int) -> ImageLimits:
        """Return the limits of a request for a file of `size` bytes."""
        pixels, memory = int(request["max_pixels"]), int(request["max_memory"])
        return cls(pixels, size, "off", request["max_seconds"], memory)


def check_transfer(size: tuple[int, int], file_size: int, limits: ImageLimits) -> None:
    """Refuse an image whose pixels, in two processes while they are passed on, need too much memory with the file.

    Raises:
        ImageTooLargeError: they need more than `max_memory`.
    """
    memory = 8 * size[0] * size[1] + file_size
    if memory > limits.max_memory:
        raise too_much_memory(memory, f"{size[0]} x {size[1]} pixels in {file_size:,} bytes", limits)


def too_much_memory(memory: int, reason: str, limits: ImageLimits) -> ImageTooLargeError:
    """Return the error for an image whose decoding would need `memory` bytes."""
    return ImageTooLargeError(
        f"decoding would take about {memory // 10**6:,} MB of memory ({reason}), at most "
        f"{limits.max_memory // 10**6:,} MB are spent on one image: save it again, or raise images.max_memory"
    )


def lacks_memory_error(limits: ImageLimits) -> UndecodedImageError:
    """Return the error for an image whose decoder got too little memory."""
    limit = f"images.max_memory ({limits.max_memory // 10**6:,} MB), or the system,"
    return UndecodedImageError(f"not decoded: {limit} gives too little memory")


def check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    """Refuse an image without pixels, and one with too many.

    Raises:
        CorruptImageError: a side has no pixel.
        ImageTooLargeError: there are more pixels than the limit.
    """
    width, height = size
    if width < 1 or height < 1:
        raise CorruptImageError(f"no pixels ({width} x {height})")
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(f"{width} x {height} pixels, at most {limits.max_pixels:,} are decoded")
