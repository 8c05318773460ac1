"""A plan: the quantities of an estimate by subject, what saturates, and what it costs at given prices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lmm_classifier.distributed.capacity.assumptions import CapacityAssumptions
from lmm_classifier.distributed.capacity.estimate import CapacityEstimate
from lmm_classifier.distributed.capacity.limits import CapacityLimit, limits_of
from lmm_classifier.distributed.capacity.workload import CapacityPrices, Workload

# subject -> quantity -> what it is called, and its unit
_SUBJECTS: dict[str, dict[str, tuple[str, str]]] = {
    "storage": {
        "image_bytes": ("image files", "bytes"),
        "vector_bytes": ("vectors", "bytes"),
        "other_bytes": ("paths, digests and labels", "bytes"),
        "stored_bytes": ("table with its chunks and its index", "bytes"),
        "chunks": ("chunk files of a build", ""),
    },
    "encoding": {
        "images_per_gpu_second": ("images that a GPU encodes", "images/s"),
        "encoding_gpu_hours": ("all images", "GPU hours"),
        "encoding_hours": ("all images with all GPUs", "hours"),
        "decoding_cores_per_gpu": ("decoding next to each GPU", "cores"),
        "reads_per_second": ("files that are read", "reads/s"),
        "archives": ("reads, if the images are in tar files", ""),
    },
    "index": {
        "table_hours": ("writing and sorting the rows, by its workers", "hours"),
        "rabitq_bytes": ("quantized index (IVF_RQ)", "bytes"),
        "pq_bytes": ("quantized index (IVF_PQ)", "bytes"),
        "index_core_hours": ("building it", "core hours"),
        "lists": ("its lists", ""),
        "centroid_bytes": ("their centers, in memory", "bytes"),
        "mean_bytes": ("means of the labels, in memory", "bytes"),
        "graph_bytes": ("instead: a graph (HNSW), in memory", "bytes"),
        "graph_core_hours": ("building it, at least", "core hours"),
        "statistics_seconds": ("reading all vectors for statistics", "s"),
        "scatter_pflop": ("their products", "PFLOP"),
    },
    "query": {
        "means_ms": ("comparing with the means of the labels", "ms of a core"),
        "scanned_bytes": ("codes compared", "bytes"),
        "scan_ms": ("comparing them", "ms of a core"),
        "rescored_bytes": ("vectors compared after that", "bytes"),
        "rescoring_ms": ("reading them from a local disk", "ms"),
        "label_rows_read": ("rows of the labels that compete", "rows"),
        "query_core_ms": ("a query in all", "ms of a core"),
        "queries_per_core_second": ("queries", "per second and core"),
    },
    "classification": {
        "new_encoding_gpu_hours": ("encoding the new images", "GPU hours"),
        "search_core_hours": ("searching, one by one", "core hours"),
        "reranked": ("calls of the reranker", "images"),
        "reranking_gpu_hours": ("reranking", "GPU hours"),
    },
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of a plan.

    Example:
        >>> from lmm_classifier.distributed.capacity.plan import Quantity
        >>> Quantity("vector_bytes", "storage", "vectors", 4.6e12, "bytes").unit
        'bytes'
    """

    name: str
    subject: str
    meaning: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a part of a plan costs, in the currency of the prices; `per_month` is false where it is paid once."""

    name: str
    value: float
    per_month: bool = False


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """The quantities, limits and costs of a workload.

    Example:
        >>> from lmm_classifier import Workload, plan_capacity
        >>> plan = plan_capacity(Workload(images=2_000_000, labels=500))
        >>> plan.fits_one_machine
        True
        >>> plan["vector_bytes"]
        9216000000.0
    """

    workload: Workload
    assumptions: CapacityAssumptions  # also with what follows from the names of the encoder and of the GPU
    prices: CapacityPrices
    quantities: tuple[Quantity, ...]
    limits: tuple[CapacityLimit, ...]
    costs: tuple[Cost, ...]

    def __getitem__(self, name: str) -> float:
        """Return a quantity by its name; raise KeyError where there is none."""
        return {quantity.name: quantity.value for quantity in self.quantities}[name]

    @property
    def fits_one_machine(self) -> bool:
        """Whether one machine is right for this workload: a cluster would only add work."""
        return not self.limits[0].is_reached

    def to_dict(self) -> dict[str, Any]:
        """Return the plan for JSON: numbers without rounding, each with its unit."""
        shown: dict[str, Any] = {"workload": asdict(self.workload), "fits_one_machine": self.fits_one_machine}
        for subject in _SUBJECTS:
            shown[subject] = {
                quantity.name: {"value": quantity.value, "unit": quantity.unit, "meaning": quantity.meaning}
                for quantity in self.quantities
                if quantity.subject == subject
            }
        shown["limits"] = [{**asdict(limit), "is_reached": limit.is_reached} for limit in self.limits]
        shown["costs"] = [asdict(cost) for cost in self.costs]
        shown["prices"] = asdict(self.prices)
        shown["assumptions"] = {name: {"value": value, **about} for name, value, about in self.assumptions.items()}
        return shown


def plan_capacity(
    workload: Workload, assumptions: CapacityAssumptions | None = None, prices: CapacityPrices | None = None
) -> CapacityPlan:
    """Estimate what a collection of images needs: bytes, GPU hours, size of the index, queries a second, and costs.

    Nothing is measured or opened: each number is a formula of the workload and the assumptions. No price is built in.

    Raises:
        ConfigError: the GPU or the encoder is unknown, and no assumption replaces what is known of it.

    Example:
        >>> from lmm_classifier import CapacityPrices, Workload, plan_capacity
        >>> plan = plan_capacity(Workload(images=10**9, labels=10**4, gpus=64), prices=CapacityPrices(gpu_hour=2.5))
        >>> plan.fits_one_machine
        False
        >>> [limit.name for limit in plan.limits if limit.is_reached][:2]
        ['images on one machine', 'rows listed in one process']
        >>> round(plan["encoding_gpu_hours"])
        453
    """
    assumptions, prices = assumptions or CapacityAssumptions(), prices or CapacityPrices()
    estimate = CapacityEstimate(workload, assumptions)
    quantities = tuple(
        Quantity(name, subject, meaning, getattr(estimate, name), unit)
        for subject, names in _SUBJECTS.items()
        for name, (meaning, unit) in names.items()
    )
    costs = tuple(_costs(estimate, prices))
    known = {"encoder_gflop": estimate.encoder_gflop, "vector_numbers": estimate.dim, "gpu_tflops": estimate.gpu_tflops}
    return CapacityPlan(workload, assumptions.changed(known), prices, quantities, tuple(limits_of(estimate)), costs)


def _costs(estimate: CapacityEstimate, prices: CapacityPrices) -> Iterator[Cost]:
    """Yield what has a price."""
    if (price := prices.gpu_hour) is not None:
        yield Cost("encoding the index", estimate.encoding_gpu_hours * price)
        yield Cost("encoding the new images", estimate.new_encoding_gpu_hours * price)
        yield Cost("reranking", estimate.reranking_gpu_hours * price)
    if (price := prices.core_hour) is not None:
        yield Cost("building the search index", estimate.index_core_hours * price)
        yield Cost("searching", estimate.search_core_hours * price)
    if (price := prices.thousand_reads) is not None:
        yield Cost("reading the image files", estimate.workload.images / 1e3 * price)
        yield Cost("instead: reading tar files", estimate.archives / 1e3 * price)
    if (price := prices.thousand_writes) is not None:
        yield Cost("writing chunk files", estimate.chunks / 1e3 * price)
    if (price := prices.gb_month) is not None:
        yield Cost("storing the image files", estimate.image_bytes / 1e9 * price, per_month=True)
        yield Cost("storing the table", estimate.stored_bytes / 1e9 * price, per_month=True)
