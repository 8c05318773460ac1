"""The settings of reading images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmm_classifier.core.concurrency import processors
from lmm_classifier.core.settings import Section
from lmm_classifier.data.images import ImageLimits


class ImagesConfig(Section):
    """How files become pixels."""

    max_pixels: int = Field(default=64_000_000, ge=1, le=178_000_000)
    """Larger pictures are refused from their header (width x height)."""
    max_bytes: int = Field(default=268_435_456, ge=1)
    """Larger files are refused before they are read."""
    fast_jpeg: bool = True
    """Decode large JPEGs at a reduced scale, at least three times the size the encoder looks at."""
    isolate: Literal["auto", "all", "off"] = "auto"
    """What is decoded in processes of their own, so that a crash costs one file: `auto` TIFF, AVIF and HEIC."""
    threads: int = Field(default=0, ge=0)
    """Threads that decode while the encoder works; 0 means one per processor, at most 32."""

    @property
    def readers(self) -> int:
        """Threads that read files: a GPU may take large photographs as fast as 32 cores decode them."""
        return self.threads or min(32, processors())

    @property
    def limits(self) -> ImageLimits:
        """What is refused, and who decodes."""
        return ImageLimits(self.max_pixels, self.max_bytes, self.isolate)
