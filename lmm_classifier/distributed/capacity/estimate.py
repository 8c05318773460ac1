"""The arithmetic of an estimate: every quantity is a formula of the workload and the assumptions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmm_classifier.distributed.capacity.assumptions import CapacityAssumptions
from lmm_classifier.distributed.capacity.hardware import encoder_shape, peak_tflops
from lmm_classifier.distributed.capacity.workload import Workload

_HOUR = 3600.0
_ROW_ID = 8  # bytes, next to the code of a row
_GRAPH_LINKS = 148  # bytes of a row of a graph with 16 neighbors, next to its 8-bit vector
_MEASURED_NUMBERS = 1152  # in the rows of which the time was measured


@dataclass(frozen=True, slots=True)
class CapacityEstimate:
    """Quantities in bytes, seconds, hours and numbers; a property is one formula.

    Example:
        >>> from lmm_classifier.distributed.capacity.assumptions import CapacityAssumptions
        >>> from lmm_classifier.distributed.capacity.estimate import CapacityEstimate
        >>> from lmm_classifier.distributed.capacity.workload import Workload
        >>> estimate = CapacityEstimate(Workload(10**9, 10**5), CapacityAssumptions())
        >>> f"{estimate.vector_bytes:.3g}"
        '4.61e+12'
    """

    workload: Workload
    assumed: CapacityAssumptions

    # storage

    @property
    def image_bytes(self) -> float:
        """All image files."""
        return self.workload.images * self.assumed.image_kb * 1e3

    @property
    def dim(self) -> float:
        """Numbers in a vector."""
        given = self.assumed.vector_numbers
        return encoder_shape(self.workload.encoder).dim if given is None else given

    @property
    def vector_row_bytes(self) -> float:
        """A vector."""
        return self.dim * self.assumed.vector_number_bytes

    @property
    def vector_bytes(self) -> float:
        """All vectors."""
        return self.workload.images * self.vector_row_bytes

    @property
    def other_bytes(self) -> float:
        """Paths, digests, labels and ids of all rows."""
        return self.workload.images * self.assumed.row_bytes

    @property
    def stored_bytes(self) -> float:
        """The chunks of a build, the table, and the index of its vectors."""
        return self.assumed.row_copies * (self.vector_bytes + self.other_bytes) + self.rabitq_bytes

    @property
    def chunks(self) -> int:
        """Chunk files of a build."""
        return math.ceil(self.workload.images / self.assumed.chunk_rows)

    # reading and encoding

    @property
    def gpu_tflops(self) -> float:
        """Trillions of operations that a GPU reaches in a second."""
        given = self.assumed.gpu_tflops
        return peak_tflops(self.workload.gpu) * self.assumed.gpu_utilization if given is None else given

    @property
    def encoder_gflop(self) -> float:
        """Billions of operations for an image."""
        given = self.assumed.encoder_gflop
        return encoder_shape(self.workload.encoder).gflop if given is None else given

    @property
    def images_per_gpu_second(self) -> float:
        """Images that a GPU encodes in a second, if it is fed."""
        return 1e3 * self.gpu_tflops / self.encoder_gflop

    @property
    def encoding_gpu_hours(self) -> float:
        """To encode all images of the index."""
        return self.workload.images / self.images_per_gpu_second / _HOUR

    @property
    def encoding_hours(self) -> float:
        """The same with all GPUs at once."""
        return self.encoding_gpu_hours / self.workload.gpus

    @property
    def decoding_cores_per_gpu(self) -> float:
        """Cores that decode what a GPU encodes."""
        return self.images_per_gpu_second * self.assumed.decode_ms / 1e3

    @property
    def reads_per_second(self) -> float:
        """Image files that all GPUs need in a second."""
        return self.images_per_gpu_second * self.workload.gpus

    @property
    def archives(self) -> int:
        """Tar files that hold all images; so many reads of an object store instead of one for each image."""
        return math.ceil(self.workload.images / self.assumed.archive_images)

    @property
    def table_hours(self) -> float:
        """In which workers write the rows of the chunks to the table, sort them and add them up."""
        moved = self.assumed.table_passes * (self.vector_bytes + self.other_bytes)
        return moved / (self.assumed.scan_workers * self.assumed.worker_gb_per_s * 1e9) / _HOUR

    # the index

    @property
    def graph_bytes(self) -> float:
        """A graph (HNSW) of 8-bit rows, all of it in memory."""
        return self.workload.images * (self.dim + _GRAPH_LINKS)

    @property
    def graph_core_hours(self) -> float:
        """To build that graph; its rows cost more as it grows, so this is a lower bound."""
        return self.workload.images * self.assumed.graph_us_per_row / 1e6 / _HOUR

    @property
    def pq_bytes(self) -> float:
        """Codes of product quantization: a byte for 8 numbers, and an id."""
        return self.workload.images * (self.dim / 8 + _ROW_ID)

    @property
    def rabitq_bytes(self) -> float:
        """Codes of RaBitQ: a bit for each number, two float32, and an id."""
        return self.workload.images * (self.dim / 8 + 8 + _ROW_ID)

    @property
    def index_core_hours(self) -> float:
        """To build an index of RaBitQ."""
        return self.workload.images * self.assumed.table_us_per_row / 1e6 / _HOUR

    @property
    def lists(self) -> int:
        """Lists of the index."""
        return math.ceil(self.workload.images / self.assumed.list_rows)

    @property
    def centroid_bytes(self) -> float:
        """Centers of the lists, in float32, in memory of each machine that searches."""
        return self.lists * self.dim * 4

    @property
    def mean_bytes(self) -> float:
        """Mean vectors of all labels, in memory of each machine that classifies."""
        return self.workload.labels * self.dim * self.assumed.mean_number_bytes

    @property
    def memory_bytes(self) -> float:
        """Memory of a machine that searches."""
        return self.assumed.machine_memory_gb * 1e9

    # a query

    @property
    def scanned_bytes(self) -> float:
        """Codes that a query is compared with; of a small index half of them."""
        probed = min(self.assumed.probed_lists, max(self.lists / 2, 1))
        return self.workload.images * probed / self.lists * (self.dim / 8 + _ROW_ID)

    @property
    def scan_ms(self) -> float:
        """Milliseconds of a core for that."""
        return self.scanned_bytes / self.assumed.scan_gb_per_s / 1e6

    @property
    def rescored_bytes(self) -> float:
        """Vectors that a query is compared with exactly, after the codes."""
        return min(self.assumed.rescored_rows, self.workload.images) * self.vector_row_bytes

    @property
    def rescoring_ms(self) -> float:
        """Milliseconds in which a local disk reads them."""
        return min(self.assumed.rescored_rows, self.workload.images) / self.assumed.disk_reads_per_s * 1e3

    @property
    def label_rows(self) -> float:
        """Rows of the labels that compete, without a limit."""
        return min(self.assumed.labels_read, self.workload.labels) * self.workload.rows_per_label

    @property
    def label_rows_read(self) -> float:
        """The same with the limit of rows of a label."""
        each = min(self.workload.rows_per_label, self.assumed.label_rows)
        return min(self.assumed.labels_read, self.workload.labels) * each

    @property
    def means_ms(self) -> float:
        """Milliseconds of a core to compare a query with the means of all labels."""
        return 2 * self.workload.labels * self.dim / self.assumed.product_gflops / 1e6

    @property
    def query_core_ms(self) -> float:
        """Milliseconds of a core for a query: means, two searches of the table, codes, and rows one by one."""
        rows = (self.label_rows_read + self.assumed.rescored_rows) * self.assumed.row_us * self.dim / _MEASURED_NUMBERS
        return self.means_ms + 2 * self.assumed.table_query_ms + self.scan_ms + rows / 1e3

    @property
    def queries_per_core_second(self) -> float:
        """Queries that a core answers in a second, without encoding and reranking."""
        return 1e3 / self.query_core_ms

    # statistics

    @property
    def statistics_seconds(self) -> float:
        """In which all workers read all vectors once."""
        return self.vector_bytes / (self.assumed.scan_workers * self.assumed.worker_gb_per_s * 1e9)

    @property
    def scatter_pflop(self) -> float:
        """Quadrillions of operations for the products of all vectors with themselves."""
        return 2 * self.workload.images * self.dim**2 / 1e15

    # classification

    @property
    def new_encoding_gpu_hours(self) -> float:
        """To encode the images that are classified."""
        return self.workload.classified / self.images_per_gpu_second / _HOUR

    @property
    def search_core_hours(self) -> float:
        """To classify them one by one."""
        return self.workload.classified * self.query_core_ms / 1e3 / _HOUR

    @property
    def reranked(self) -> float:
        """Images that are reranked."""
        return self.workload.classified * min(1.0, self.assumed.reranked_share)

    @property
    def reranking_gpu_hours(self) -> float:
        """To rerank them."""
        return self.reranked * self.assumed.rerank_tflop / self.gpu_tflops / _HOUR
