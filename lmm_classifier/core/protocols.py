"""The seams, on one page: implement one of these and everything else works with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from lmm_classifier.core.datatypes import Candidate, Decision, Fingerprint, Question, Reranked

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Prepared = NDArray[Any] | Mapping[str, NDArray[Any]]  # what an encoder needs of one picture
Rows = Callable[[], Iterable[FloatArray]]  # each call walks over all corpus vectors once, in blocks (m, dim)


class Space(Protocol):
    """The transform in which neighbours are searched; state of the index, applied to corpus and query alike."""

    name: str

    @property
    def recipe(self) -> SpaceRecipe:
        """What fits such a space to another corpus."""

    def transform(self, vectors: FloatArray) -> FloatArray:
        """Map encoder vectors (n, dim) to unit rows (n, d) of the search space."""

    def state(self) -> Mapping[str, NDArray[Any]]:
        """The arrays that rebuild this space; no pickled objects."""


class SpaceRecipe(Protocol):
    """How an encoder's vectors are made comparable: fits a `Space` on a corpus in closed form."""

    def fit(self, rows: Rows) -> Space:
        """Fit on all corpus vectors, read in blocks so that memory does not grow with the corpus."""


class Encoder(Protocol):
    """Pictures in, unit vectors out."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What makes this encoder's vectors comparable only with themselves."""

    @property
    def space(self) -> SpaceRecipe:
        """The space that suits these vectors."""

    @property
    def image_size(self) -> int:
        """The side in pixels that this encoder looks at; larger pictures may be decoded at a reduced scale."""

    @property
    def batch_size(self) -> int:
        """How many pictures it likes to be given at a time."""

    def prepare(self, image: Image) -> Prepared:
        """Reduce an upright RGB picture to what `encode` needs of it; may be called in any thread."""

    def encode(self, prepared: Sequence[Prepared]) -> FloatArray:
        """Encode what `prepare` made of pictures as unit rows (n, dim), float32; a row does not depend on its batch.

        Several threads may call it; they take turns.
        """

    def encode_images(self, images: Sequence[Image]) -> FloatArray:
        """Prepare and encode upright RGB pictures as unit rows (n, dim), float32."""


@runtime_checkable
class TextEncoder(Protocol):
    """An encoder whose text tower shares the space of its pictures."""

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode label names as unit rows (n, dim), float32."""


class Comparison(Protocol):
    """Queries held against the corpus. What was left out of it is nowhere in the answers."""

    def __len__(self) -> int:
        """The number of queries, n."""

    def nearest(self, query: int, k: int, rows: IntArray | None = None) -> tuple[IntArray, NDArray[np.float64]]:
        """The k nearest rows of one query (of `rows`, if given) and their cosines: nearest first, ties by row."""

    def nearest_each(self, k: int) -> tuple[IntArray, NDArray[np.float64]]:
        """The k nearest rows of every query, (n, k), and their cosines; row -1, cosine -inf where there are fewer."""

    def nearest_among(self, wanted: Sequence[tuple[int, IntArray]], k: int) -> tuple[IntArray, NDArray[np.float64]]:
        """The same, (w, k), for queries each with the rows to choose from; they come in the order of the queries."""

    def top_mean(self, m: int) -> NDArray[np.float64]:
        """For each label the mean of its m best cosines, (n, C); -inf where the label has no row."""

    def best_label(self) -> NDArray[np.float64]:
        """The largest mean of a label's nearest cosine and the cosine to its mean row, (n,); -inf where no row is."""

    def mean_cosines(self) -> NDArray[np.float64]:
        """The cosine to the mean row of each label, (n, C); -inf where the label has no row."""

    def square_distances(self) -> NDArray[np.float64]:
        """The squared distance to the mean row of each label, (n, C); inf where the label has no row."""


class VectorIndex(Protocol):
    """The corpus: examples, and their vectors in the search space."""

    @property
    def label_names(self) -> Sequence[str]:
        """The labels, sorted; C of them."""

    @property
    def label_ids(self) -> IntArray:
        """The label of each row as a position in `label_names`, (N,)."""

    def compare(self, vectors: FloatArray, leave_out: Sequence[str | None] | None = None) -> Comparison:
        """Compare encoder vectors (n, dim) with every row, but not with rows whose content hash is in `leave_out`."""


class VotingRule(Protocol):
    """Turns similarities into one score per label."""

    temperature: float

    def scores(self, comparison: Comparison) -> NDArray[np.float64]:
        """Scores (n, C) in units of cosine similarity, higher is better; -inf for a label without evidence.

        Their softmax at `temperature` is the vote share of each label.
        """


class DecisionPolicy(Protocol):
    """Turns the vote into an action; the only place where a threshold is compared."""

    def decide(self, candidates: Sequence[Candidate], nearness: float) -> Decision:
        """Accept, reject, or ask the reranker; `nearness` says how well known the picture looks, higher is better."""

    def decide_again(self, reranked: Reranked) -> Decision:
        """Accept or reject after the reranker spoke (or failed): there are no loops."""


class Reranker(Protocol):
    """A second look at pictures whose labels compete."""

    @property
    def identity(self) -> str:
        """What its answers depend on apart from the question; measurements and kept answers belong to it."""

    @property
    def references(self) -> int:
        """How many reference pictures per candidate it wants with a question; 0 for none."""

    @property
    def trust(self) -> tuple[float, float]:
        """Weights of retrieval's log shares and of its own, until they are measured (see `fusion.Fusion`)."""

    def rerank(self, questions: Sequence[Question]) -> list[Reranked]:
        """One answer per question, its scores in the order of that question's candidates."""
