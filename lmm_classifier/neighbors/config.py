"""The settings of retrieval."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from lmm_classifier.core.index_location import IndexLocationField
from lmm_classifier.core.settings import MAX_CANDIDATES, Settings, UnitInterval

# Number of rows from which `search: auto` uses a graph: there the exact search takes longer than a fast encoder. At a
# million rows of 1,152 numbers and 5,000 labels the exact search took 155 ms per image (64 at a time), the graph 9 ms,
# and SigLIP base 91 ms; the graph found all of the ten nearest. At 200,000 rows the exact search took 23 ms. There the
# graph, made in half a minute, saves little, and it may miss a near example (benchmarks/million.py and search.py).
ANN_FROM = 1_000_000


class RetrievalConfig(Settings):
    """How neighbors are found and how they vote."""

    index_path: IndexLocationField = Path("index")
    """The durable index, a folder; a `.npz` file, which cannot be edited, only built again; or a table of Lance, a
    folder that ends in `.lance` or a URL such as `s3://BUCKET/NAME`, which cannot be edited either."""
    stored_dtype: Literal["float32", "float16"] = "float32"
    """Number type of the vectors in a new index; float16 halves the file and changes similarities by 0.0005."""
    rule: Literal["auto", "knn", "top_k_mean", "prototype", "top_k_mean_prototype", "tip", "gda"] = "auto"
    """`auto`: a product of three experts over a metric fitted by leave-one-out; `knn`: the k nearest vote, weighted by
    exp(similarity / temperature); `tip`: the same with all examples; `top_k_mean`: per label the mean of its 5 best
    similarities; `prototype`: similarity to the label's mean embedding; `top_k_mean_prototype`: mean of the 3 best and
    of the prototype; `gda`: Gaussian discriminant analysis."""
    within_class_metric: bool = False
    """Vote in the within-class metric instead of the index's own space; `auto` and `gda` always do."""
    power_normalize: bool | Literal["auto"] = "auto"
    """Take the signed square root of every number before the metric is fitted; `auto`: where none is negative."""
    k: int = Field(default=20, ge=1)
    """Neighbors that vote under `knn`."""
    temperature: float | None = Field(default=None, gt=0)
    """Sharpness of the vote, in units of cosine similarity; smaller is sharper. Null: fitted by leave-one-out, so that
    the score is a calibrated probability. `auto` always fits its own."""
    zero_shot_text: Literal["auto", "off"] = "auto"
    """`auto`: `calibrate` adds the label names as one more expert of rule `auto` where the encoder has a text tower and
    leave-one-out shows that they help."""
    zero_shot_template: str = Field(default="a photo of {label}", pattern=r"\{label\}")
    """The text that is encoded for a label; `{label}` is the label with blanks for `_` and `-`."""
    confidence_threshold: UnitInterval | None = None
    """A result with at least this score (0 to 1) is accepted at once; one with less is ambiguous. Null: the value that
    `calibrate` stored in the index, else 0.7."""
    keep_known: float | None = Field(default=None, gt=0, lt=1)
    """Fraction (0 to 1) of images of known labels that must not be called unknown: their true-positive rate, as in
    FPR@95TPR. Smaller catches more unknown images and rejects more known ones. Null: the value that `calibrate`
    stored, else 0.95."""
    familiarity_threshold: float | None = None
    """Your own threshold of familiarity, in robust standard deviations (0 is typical, higher is more familiar): below
    it an image is novel. `info` and `calibrate` print the fitted one. It excludes `open_set_threshold`."""
    open_set_threshold: float | None = Field(default=None, ge=-1, le=1)
    """Use the cosine similarity of the nearest example (-1 to 1) instead of the familiarity: below it an image is
    novel. It belongs to one encoder and dataset; -1 never rejects."""
    prediction_set_alpha: float | None = Field(default=None, gt=0, lt=1)
    """Give with each result the set of labels that contains the true one with probability 1 - alpha (conformal)."""
    cascade: bool = False
    """Of several encoders, ask each next one of the list only where those before are unsure. False: all are asked."""
    search: Literal["auto", "exact", "ann", "store"] = "auto"
    """`exact`: compare with every example; `ann`: compare with 500 that an HNSW graph finds and with some of the four
    most likely labels, which may miss a near example (needs `lmm-classifier[ann]`); `store`: read from a store of rows
    the labels that compete only, so that the examples need not fit in memory; `auto`: `exact` below a million
    examples."""
    candidates: int = Field(default=5, ge=1, le=MAX_CANDIDATES)
    """Labels listed in a result, and offered to the reranker."""
    neighbors_per_label: int = Field(default=3, ge=1)
    """Supporting neighbors listed per candidate."""

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.familiarity_threshold is not None and self.open_set_threshold is not None:
            raise ValueError("set familiarity_threshold (familiarity) or open_set_threshold (cosine), not both")
        return self

    def uses_graph(self, rows: int) -> bool:
        """Return whether answers come from a shortlist that a graph finds among so many examples."""
        return self.search == "ann" or (self.search == "auto" and rows >= ANN_FROM and find_spec("faiss") is not None)
