"""What saturates: each limit with what is needed, what there is, and what to do above it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lmm_classifier.distributed.capacity.estimate import CapacityEstimate

_Formula = Callable[[CapacityEstimate], float]

_LISTED = 1e7  # rows whose paths, digests and labels one process holds as Python objects
_SCORED = 20_000  # examples that a calibration scores


@dataclass(frozen=True, slots=True)
class CapacityLimit:
    """A resource that a workload may use up.

    Example:
        >>> from lmm_classifier.distributed.capacity.limits import CapacityLimit
        >>> CapacityLimit("cores", 20.0, 16.0, "cores", "take more").is_reached
        True
    """

    name: str
    needed: float
    available: float
    unit: str
    remedy: str

    @property
    def is_reached(self) -> bool:
        """Whether more is needed than there is."""
        return self.needed > self.available


# name, unit, what is needed, what there is, and what to do; in the order in which a growing collection meets them
_RULES: tuple[tuple[str, str, _Formula, _Formula, str], ...] = (
    (
        "images on one machine",
        "images",
        lambda estimate: estimate.workload.images,
        lambda estimate: estimate.assumed.one_machine_images,
        "build in parallel into a table on an object store",
    ),
    (
        "rows listed in one process",
        "images",
        lambda estimate: estimate.workload.images,
        lambda _: _LISTED,
        "answer through the store; a table opened as a whole holds its paths and labels in memory",
    ),
    (
        "dense scores of a calibration",
        "bytes",
        lambda estimate: 8.0 * estimate.workload.labels * min(estimate.workload.images, _SCORED),
        lambda estimate: estimate.memory_bytes,
        "calibrate through the store, whose scores are sparse",
    ),
    (
        "graph in memory",
        "bytes",
        lambda estimate: estimate.graph_bytes,
        lambda estimate: estimate.memory_bytes,
        "search a quantized index, whose rows are on disk",
    ),
    (
        "centers and means in memory",
        "bytes",
        lambda estimate: estimate.centroid_bytes + estimate.mean_bytes,
        lambda estimate: estimate.memory_bytes,
        "fewer labels on each machine",
    ),
    (
        "decoding next to a GPU",
        "cores",
        lambda estimate: estimate.decoding_cores_per_gpu,
        lambda estimate: estimate.assumed.cores_per_gpu,
        "more cores for each GPU, or smaller image files",
    ),
    (
        "reads of image files",
        "reads/s",
        lambda estimate: estimate.reads_per_second,
        lambda estimate: estimate.assumed.reads_per_prefix * estimate.assumed.prefixes,
        "more prefixes, or tar files: each read then brings many images",
    ),
    (
        "writing and sorting against encoding",
        "hours",
        lambda estimate: estimate.table_hours,
        lambda estimate: estimate.encoding_hours,
        "more workers: it is done after the encoding",
    ),
    (
        "rows of the labels that compete",
        "rows a query",
        lambda estimate: estimate.label_rows,
        lambda estimate: estimate.assumed.labels_read * estimate.assumed.label_rows,
        "only some rows of a label are compared; classify many images at once, which reads each label once",
    ),
    (
        "reranking against encoding",
        "GPU hours",
        lambda estimate: estimate.reranking_gpu_hours,
        lambda estimate: estimate.new_encoding_gpu_hours,
        "a lower rerank.gate.max_calls_per_1000, or a smaller model",
    ),
)


def limits_of(estimate: CapacityEstimate) -> Iterator[CapacityLimit]:
    """Yield all limits, in the order in which a growing collection usually meets them."""
    for name, unit, needed, available, remedy in _RULES:
        yield CapacityLimit(name, needed(estimate), available(estimate), unit, remedy)
