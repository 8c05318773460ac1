"""What an estimate assumes: each number with its unit, its source and a name by which it can be set."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from lmm_classifier.core.errors import ConfigError

_LANCE = "measured at 200,000 rows of 1,152 numbers in Lance"

# assumption -> unit, meaning, source
_ABOUT: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "image_kb": ("kB", "mean size of an image file", "typical of the web"),
        "encoder_gflop": ("GFLOP", "to encode an image", "the shape of the encoder"),
        "vector_numbers": ("", "numbers in a vector", "the shape of the encoder"),
        "vector_number_bytes": ("B", "of a number of a vector", "float32, as tables hold them"),
        "mean_number_bytes": ("B", "of a number of a mean", "float64, as comparisons hold them"),
        "row_bytes": ("B", "of a row next to its vector", "path 60, SHA-256 32, id, label, norm"),
        "row_copies": ("copies", "of a row on the object store", "its chunk, as it arrived, and sorted"),
        "gpu_tflops": ("TFLOP/s", "that a GPU reaches", "its peak times gpu_utilization"),
        "gpu_utilization": (
            "of the peak",
            "that an encoder reaches",
            "measured: SigLIP so400m on an H100, 612 images/s",
        ),
        "decode_ms": ("ms of a core", "to decode an image", "measured: a JPEG of 1024 x 768"),
        "cores_per_gpu": ("cores", "next to each GPU", "usual in a cloud"),
        "reads_per_prefix": ("reads/s", "of a prefix of an object store", "Amazon S3, its manual"),
        "prefixes": ("prefixes", "over which the files are spread", "a choice"),
        "archive_images": ("images", "in a tar file", "a choice"),
        "chunk_rows": ("rows", "in a chunk, on average", "the default of a build: at most 4,096"),
        "one_machine_images": ("images", "up to which one machine is right", "23 GB of float32 vectors"),
        "machine_memory_gb": ("GB", "of memory in a machine that searches", "a choice"),
        "graph_us_per_row": ("us of a core", "to add a row to a graph", "measured at 200,000 rows"),
        "table_us_per_row": ("us of a core", "to index a row by IVF_RQ", _LANCE),
        "list_rows": ("rows", "in a list of the index", "the default of a table"),
        "probed_lists": ("lists", "read for a query, at most, and at most half", "the default of a table"),
        "scan_gb_per_s": ("GB/s of a core", "of codes compared", "product quantization in memory"),
        "rescored_rows": ("rows", "compared exactly for a query", "ten for each of the 200 searched"),
        "disk_reads_per_s": ("reads/s", "of a local disk", "NVMe, random reads of 4 kB"),
        "labels_read": ("labels", "whose rows are read for a query, at most", "the default of a comparison"),
        "label_rows": ("rows", "read of a label, at most", "the default of a comparison"),
        "row_us": ("us of a core", "to compare a row of 1,152 numbers", "measured: a matrix product"),
        "product_gflops": ("GFLOP/s of a core", "of a matrix product", "float32, measured"),
        "table_query_ms": ("ms of a core", "for any search of a table", _LANCE),
        "scan_workers": ("workers", "that write, sort and add up the rows of a table", "a choice"),
        "worker_gb_per_s": ("GB/s", "that a worker reads", "an object store, usual"),
        "table_passes": ("passes", "over all rows by these workers", "read and written, twice, and read to add up"),
        "reranked_share": ("of the images", "that are reranked", "measured: the gate on drawn shapes"),
        "rerank_tflop": ("TFLOP", "to rerank an image", "a model of 7 billion parameters, two orders of 1,000 tokens"),
    }
)


@dataclass(frozen=True, slots=True)
class CapacityAssumptions:
    """The numbers behind an estimate; `items` has the meaning and the source of each.

    A core is one of a server processor, about as fast as an AMD EPYC of 2023.

    Raises:
        ConfigError: a number is not finite, or not above 0.

    Example:
        >>> from lmm_classifier import CapacityAssumptions
        >>> CapacityAssumptions(image_kb=2000).image_kb
        2000
    """

    image_kb: float = 300.0  # kB
    encoder_gflop: float | None = None  # GFLOP
    vector_numbers: float | None = None
    vector_number_bytes: float = 4.0  # B
    mean_number_bytes: float = 8.0  # B
    row_bytes: float = 108.0  # B
    row_copies: float = 3.0  # copies
    gpu_tflops: float | None = None  # TFLOP/s
    gpu_utilization: float = 0.415  # of the peak
    decode_ms: float = 4.1  # ms of a core
    cores_per_gpu: float = 16.0  # cores
    reads_per_prefix: float = 5500.0  # reads/s
    prefixes: float = 8.0  # prefixes
    archive_images: float = 1000.0  # images
    chunk_rows: float = 2700.0  # rows
    one_machine_images: float = 5000000.0  # images
    machine_memory_gb: float = 256.0  # GB
    graph_us_per_row: float = 212.0  # us of a core
    table_us_per_row: float = 140.0  # us of a core
    list_rows: float = 4096.0  # rows
    probed_lists: float = 256.0  # lists
    scan_gb_per_s: float = 7.5  # GB/s of a core
    rescored_rows: float = 2000.0  # rows
    disk_reads_per_s: float = 100000.0  # reads/s
    labels_read: float = 64.0  # labels
    label_rows: float = 1000.0  # rows
    row_us: float = 0.46  # us of a core
    product_gflops: float = 46.0  # GFLOP/s of a core
    table_query_ms: float = 4.0  # ms of a core
    scan_workers: float = 64.0  # workers
    worker_gb_per_s: float = 0.5  # GB/s
    table_passes: float = 5.0  # passes
    reranked_share: float = 0.326  # of the images
    rerank_tflop: float = 30.0  # TFLOP

    def __post_init__(self) -> None:
        for name, value, _ in self.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"The assumption {name} is {value:g}. Expected a finite number above 0.")

    def items(self) -> Iterator[tuple[str, float | None, Mapping[str, str]]]:
        """Yield the name of each assumption, its value, and its `unit`, `meaning` and `source`."""
        for entry in fields(self):
            yield entry.name, getattr(self, entry.name), dict(zip(("unit", "meaning", "source"), _ABOUT[entry.name]))

    def changed(self, values: Mapping[str, float]) -> CapacityAssumptions:
        """Return assumptions with some values replaced.

        Raises:
            ConfigError: a name is unknown, or a value is not finite or not above 0.

        Example:
            >>> from lmm_classifier import CapacityAssumptions
            >>> CapacityAssumptions().changed({"image_kb": 80.0}).image_kb
            80.0
        """
        known = [entry.name for entry in fields(self)]
        for name in values:
            if name not in known:
                similar = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean {similar[0]!r}?" if similar else f"Expected one of {', '.join(known)}."
                raise ConfigError(f"Unknown assumption {name!r}. {hint}")
        return replace(self, **values)
