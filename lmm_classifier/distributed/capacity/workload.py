"""What is to be encoded, indexed and classified, and at which prices."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from lmm_classifier.core.errors import ConfigError

DEFAULT_ENCODER = "google/siglip-so400m-patch14-384"


@dataclass(frozen=True, slots=True)
class Workload:
    """A collection of images, and the machines for it.

    Args:
        images: labeled images of the index, at least 1.
        labels: labels of the index, at most as many as images.
        new_images: images to classify. None: as many as the index has.
        gpu: name of the GPU, see `capacity.hardware.GPUS`.
        gpus: GPUs that encode at once.
        encoder: name of the encoder, see `capacity.hardware.ENCODERS`.

    Raises:
        ConfigError: a number is not whole, or out of range.

    Example:
        >>> from lmm_classifier import Workload
        >>> Workload(images=10**9, labels=10**5).rows_per_label
        10000.0
    """

    images: int
    labels: int
    new_images: int | None = None
    gpu: str = "h100"
    gpus: int = 1
    encoder: str = DEFAULT_ENCODER

    def __post_init__(self) -> None:
        for name in ("images", "labels", "new_images", "gpus"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value == int(value) and value >= 1):
                raise ConfigError(f"Expected a whole number of {name}, at least 1; got {value}.")
        if self.labels > self.images:
            raise ConfigError(
                f"Expected at most as many labels as images; got {self.labels:,} labels and {self.images:,} images."
            )

    @property
    def rows_per_label(self) -> float:
        """Images of a label, on average."""
        return self.images / self.labels

    @property
    def classified(self) -> int:
        """Images to classify."""
        return self.images if self.new_images is None else self.new_images


@dataclass(frozen=True, slots=True)
class CapacityPrices:
    """Prices of a provider, all in one currency; a plan has no cost of what has no price.

    Args:
        gpu_hour: an hour of a GPU, with its machine.
        core_hour: an hour of a processor core.
        gb_month: a month of a gigabyte (10^9 bytes) on the object store.
        thousand_reads: a thousand reads (GET) of the object store.
        thousand_writes: a thousand writes (PUT) of the object store.

    Raises:
        ConfigError: a price is not finite, or below 0.

    Example:
        >>> from lmm_classifier.distributed.capacity.workload import CapacityPrices
        >>> CapacityPrices(gpu_hour=2.5).missing
        ['core_hour', 'gb_month', 'thousand_reads', 'thousand_writes']
    """

    gpu_hour: float | None = None
    core_hour: float | None = None
    gb_month: float | None = None
    thousand_reads: float | None = None
    thousand_writes: float | None = None

    def __post_init__(self) -> None:
        for entry in fields(self):
            price = getattr(self, entry.name)
            if price is not None and not (math.isfinite(price) and price >= 0):
                raise ConfigError(f"The price {entry.name} is {price:g}. Expected a finite number, at least 0.")

    @property
    def missing(self) -> list[str]:
        """The names of the prices that are not known."""
        return [entry.name for entry in fields(self) if getattr(self, entry.name) is None]
