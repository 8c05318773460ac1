"""The settings of reading images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmm_classifier.core.concurrency import cpu_count
from lmm_classifier.core.settings import PathsField, Settings
from lmm_classifier.data.limits import ImageLimits


class ImagesConfig(Settings):
    """How image files are decoded."""

    max_pixels: int = Field(default=64_000_000, ge=1, le=178_000_000)
    """Images with more pixels (width x height) are refused; the header alone is read for this."""
    max_bytes: int = Field(default=268_435_456, ge=1)
    """Files with more bytes are refused before they are read."""
    max_seconds: float = Field(default=2.0, ge=0.001, le=3600)
    """Processor time for one image, in seconds; files whose structure asks for more are refused, with the reason."""
    max_memory: int = Field(default=600_000_000, ge=64_000_000)
    """Bytes of memory for one image, those of the file included."""
    fast_jpeg: bool = True
    """Decode large JPEGs at a reduced scale, at least three times the size that the encoder uses."""
    decode_in_subprocess: Literal["auto", "all", "off"] = "auto"
    """Formats that separate processes decode, under limits of time and memory. `auto`: TIFF, WebP, AVIF and HEIC."""
    follow_links: PathsField = Field(default=[])
    """Folders outside the dataset into which links may lead, such as the cache of git-annex or DVC. Links to files
    inside the dataset are always followed, links to folders only where this names a folder."""
    threads: int = Field(default=0, ge=0)
    """Threads that decode while the encoder works. 0: one per processor, at most 32."""

    @property
    def readers(self) -> int:
        """Number of threads that read files; a GPU can encode large photographs as fast as 32 cores decode them."""
        return self.threads or min(32, cpu_count())

    @property
    def limits(self) -> ImageLimits:
        """Limits for files, and where they are decoded."""
        return ImageLimits(
            self.max_pixels, self.max_bytes, self.decode_in_subprocess, self.max_seconds, self.max_memory
        )
