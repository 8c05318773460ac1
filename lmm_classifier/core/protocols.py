"""The seams, on one page: an object with these methods works with everything else.

n counts queries or images, N the examples of the dataset, C its labels. Implementers write the batch methods only.
`lmm_classifier.testing` has checks for what they must hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from numpy.typing import NDArray
from PIL.Image import Image

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.datatypes import Candidate, CoarseCandidate, Decision, RerankRequest, RerankResult
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.rows import ColumnName, RowBlock, RowProducts

Preprocessed = NDArray[Any] | Mapping[str, NDArray[Any]]  # the input of an encoder for one image
Rows = Callable[[], Iterable[Float32Array]]  # each call walks over all dataset vectors once, in blocks (m, dim)


@runtime_checkable
class Encoder(Protocol):
    """Turns images into normalized embeddings."""

    @property
    def fingerprint(self) -> Fingerprint:
        """The identity of the embeddings; encoders with different ones must never share an index."""

    @property
    def transform_fitter(self) -> TransformFitter:
        """Fits the transform in which these embeddings are compared."""

    @property
    def image_size(self) -> int:
        """The side in pixels that the encoder uses; larger images may be decoded at a reduced scale."""

    @property
    def batch_size(self) -> int:
        """The number of images in one call of `encode` at which the encoder is fast."""

    def preprocess(self, image: Image) -> Preprocessed:
        """Reduce an upright RGB image to what `encode` needs of it.

        Any thread may call it, several at once. It must not change the image.
        """

    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:
        """Return normalized embeddings (n, dim) in float32; (0, dim) for no image.

        A row must have the same bits in any batch. Several threads may call it; the encoder makes them take turns.
        It raises EncoderError where an image has no finite embedding.
        """


@runtime_checkable
class TextEncoder(Protocol):
    """An encoder that also embeds text, in the space of its images."""

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """Return normalized embeddings (n, dim) in float32 of label names or phrases."""


class Transform(Protocol):
    """Maps embeddings to the space in which neighbors are searched. It is part of the index."""

    name: str

    @property
    def fitter(self) -> TransformFitter:
        """Fits a transform of the same kind on another dataset."""

    def transform(self, vectors: Float32Array) -> Float32Array:
        """Map embeddings (n, dim) to normalized rows (n, d); a row must have the same bits in any batch."""

    def to_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the named arrays that rebuild this transform; no pickled objects."""


class TransformFitter(Protocol):
    """Fits a `Transform` on a dataset in closed form, without its labels."""

    def fit(self, rows: Rows) -> Transform:
        """Fit on all embeddings of the dataset; they are read in blocks, so memory must not grow with the dataset."""


class Similarities(Protocol):
    """n queries compared with the dataset. Rows that are left out of the comparison appear in no answer."""

    def __len__(self) -> int:
        """The number of queries, n."""

    def nearest(self, query: int, k: int, rows: IntArray | None = None) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows (of `rows`, if given) of a query and their cosines: nearest first, ties by row."""

    def nearest_each(self, k: int) -> tuple[IntArray, Float64Array]:
        """Return the k nearest rows of every query, (n, k), and their cosines.

        Where a query has fewer than k rows, the row is -1 and the cosine -inf.
        """

    def nearest_among(self, wanted: Sequence[tuple[int, IntArray]], k: int) -> tuple[IntArray, Float64Array]:
        """Return the same, (w, k), for w pairs of a query and the rows to choose from.

        `wanted` is sorted by query.
        """

    def top_k_mean(self, m: int) -> Float64Array:
        """Return for each label the mean of its m best cosines, (n, C); -inf where the label has no row."""

    def best_label(self) -> Float64Array:
        """Return the best mean, over labels, of nearest cosine and cosine to the mean row, (n,); -inf without rows."""

    def mean_cosines(self) -> Float64Array:
        """Return the cosine to the mean row of each label, (n, C); -inf where the label has no row."""

    def square_distances(self) -> Float64Array:
        """Return the squared distance to the mean row of each label, (n, C); inf where the label has no row."""


class VectorIndex(Protocol):
    """The dataset: N examples with their embeddings in the space of the search."""

    @property
    def label_names(self) -> Sequence[str]:
        """The C labels, sorted."""

    @property
    def label_ids(self) -> IntArray:
        """The label of each row as a position in `label_names`, (N,)."""

    def compare(self, vectors: Float32Array, leave_out: Sequence[str | None] | None = None) -> Similarities:
        """Compare embeddings (n, dim) of an encoder with the rows.

        `leave_out` has one content hash per query, or None: rows with that hash are not compared with that query.
        """


class RowStore(Protocol):
    """One version of labeled rows of one encoder, in memory, in a table on disk, or on an object store.

    It gives what a comparison needs and memory does not hold. d numbers are in a row. Several threads may call it.
    """

    @property
    def version(self) -> str:
        """Identifies the rows, what was derived from them and the search; a calibration belongs to one."""

    @property
    def label_names(self) -> Sequence[str]:
        """The C labels, sorted."""

    @property
    def counts(self) -> IntArray:
        """The rows of each label, (C,)."""

    @property
    def means(self) -> Float64Array:
        """The mean vector of each label, (C, d)."""

    def sums(self) -> RowProducts | None:
        """Return sums over all rows; None where they were not made, so that all rows must be read for them."""

    @property
    def has_norms(self) -> bool:
        """Whether rows have their norms in a metric, as the column `norms`; see `with_norms`."""

    def with_norms(self, metric: str, norms: Callable[[Float32Array], Float64Array], *, store: bool = True) -> RowStore:
        """Return the same rows with their norms in the metric of this name; `norms` computes them from vectors (n, d).

        Without `store` nothing is written: rows without stored norms may come back as they are.
        """

    def nearest(self, queries: Float32Array, k: int) -> tuple[IntArray, Float64Array]:
        """Return ids (n, k) of the nearest rows of normalized queries (n, d), and their cosines in float64.

        Nearest first, ties by id; -1 and -inf where there are fewer rows. The search may miss a row; a cosine that it
        gives is exact.
        """

    def rows_of_labels(
        self, label_ids: IntArray, columns: Sequence[ColumnName] = ("vectors",), most: int | None = None
    ) -> Iterator[RowBlock]:
        """Read all rows of some labels, by id, in blocks; at most `most` of each label, then always the same ones."""

    def rows_of_contents(self, contents: Sequence[str], columns: Sequence[ColumnName] = ("contents",)) -> RowBlock:
        """Read the rows whose images have one of these SHA-256, by id; those that no row has are left out."""

    def rows_of_ids(self, ids: IntArray, columns: Sequence[ColumnName]) -> RowBlock:
        """Read rows by their ids, in this order; raise KeyError where there is no such row."""

    def blocks(self, columns: Sequence[ColumnName]) -> Iterator[RowBlock]:
        """Read all rows once, in blocks, always in the same order; memory does not grow with the rows."""


Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


class Engine(Protocol):
    """Runs tasks somewhere: in this process, in several, or on a cluster."""

    def run(self, tasks: Iterable[Task], build: Callable[[], Callable[[Task], Outcome]]) -> Iterator[Outcome]:
        """Yield an outcome of each task, in any order.

        `build` is called where the work is done, once per worker, and returns what does one task. A task may run more
        than once, and at the same time elsewhere; so it must name its results by what they are made of.
        """


class VotingRule(Protocol):
    """Turns similarities into one score per label."""

    temperature: float

    def scores(self, similarities: Similarities) -> Float64Array:
        """Return scores (n, C) in units of cosine similarity, higher is better; -inf for a label without evidence.

        Their softmax at `temperature` is the probability of each label.
        """


class DecisionPolicy(Protocol):
    """Turns the scores of one image into a decision; the only place where a threshold is compared."""

    def decide(
        self,
        candidates: Sequence[Candidate],
        familiarity: float,
        similarity: float,
        may_rerank: bool = True,
        coarse: Sequence[CoarseCandidate] = (),
    ) -> Decision:
        """Accept, reject, or ask the reranker where it may be asked.

        `candidates` come best first. `familiarity` and `similarity` (cosine of the nearest example) are higher for
        images that resemble the examples. `coarse` has the best coarse label of each level, the finest first.
        """

    def roll_up(self, coarse: Sequence[CoarseCandidate]) -> CoarseCandidate | None:
        """Return the first coarse label that is sure enough; None where none is."""

    def decide_again(self, reranked: RerankResult) -> Decision:
        """Accept or reject after the reranker answered or failed; it is never asked twice."""


class Reranker(Protocol):
    """Chooses among the candidates of images whose labels compete."""

    @property
    def identity(self) -> str:
        """Names all that an answer depends on apart from the request; measurements and cached answers belong to it."""

    @property
    def references(self) -> int:
        """The number of reference images per candidate that a request should hold; 0 for none."""

    @property
    def trust(self) -> tuple[float, float]:
        """Weights of retrieval's and of the reranker's log-probabilities until they are measured (`fusion.Fusion`)."""

    def rerank(self, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        """Return one result per request, its scores in the order of the request's candidates.

        A request that cannot be answered must give a result with a `failure`, never an exception or another label.
        """
