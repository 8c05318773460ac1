"""The settings of retrieval."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from lmm_classifier.core.settings import MAX_CANDIDATES, PathField, Section, Share


class RetrievalConfig(Section):
    """How neighbours are found and how they vote."""

    index_path: PathField = Path("index")
    """The durable index, a folder; or a `.npz` file, which cannot be changed, only made anew."""
    stored_dtype: Literal["float32", "float16"] = "float32"
    """Number type of the vectors in a new index; float16 halves the file and moves similarities by 0.0005."""
    rule: Literal["auto", "softmax", "top_mean", "prototype", "top3_prototype", "tip", "gda"] = "auto"
    """`auto`: three voices over a metric fitted on the corpus by leave-one-out; `softmax`: vote of the k nearest,
    weighted by exp(similarity / temperature); `tip`: the same of all examples; `top_mean`: per label the mean of its 5
    best similarities; `prototype`: similarity to the label's mean picture; `top3_prototype`: mean of the 3 best and of
    that one; `gda`: Gaussian discriminant analysis."""
    whitened: bool = False
    """Let the rule vote in the within-class metric instead of the index's own space; `auto` and `gda` always do."""
    power: Literal["auto", "signed", "plain"] = "auto"
    """Before the metric, take the signed square root of every number or not; `auto`: where none is negative."""
    k: int = Field(default=20, ge=1)
    """Neighbours that vote under `softmax`."""
    temperature: float | None = Field(default=None, gt=0)
    """Sharpness of the vote, in units of cosine similarity; smaller is more decided. Null: fitted by leave-one-out, so
    that the score is a calibrated probability. `auto` always fits its own."""
    text: Literal["auto", "off"] = "auto"
    """`auto`: `calibrate` lets the label names join as a voice of `auto` where the encoder has a text tower and
    leave-one-out says that they help."""
    text_template: str = Field(default="a photo of {label}", pattern=r"\{label\}")
    """What the text tower reads; `{label}` is the label with blanks for `_` and `-`."""
    confidence_threshold: Share | None = None
    """At or above this score (0..1) the answer is accepted at once; below it labels compete. Null: what `calibrate`
    stored in the index, else 0.7."""
    keep_known: float | None = Field(default=None, gt=0, lt=1)
    """A picture is novel when it looks less familiar than this share (0..1) of the examples do when left out; smaller
    catches more strangers and refuses more known pictures. Null: what `calibrate` stored, else 0.95."""
    open_set_threshold: float | None = Field(default=None, ge=-1, le=1)
    """By hand instead: the nearest similarity (cosine, -1..1) under which a picture is novel. Belongs to one encoder
    and corpus; -1 never says so."""
    set_alpha: float | None = Field(default=None, gt=0, lt=1)
    """Give with each verdict the set of labels that holds the true one with probability 1 - set_alpha (conformal)."""
    search: Literal["auto", "exact", "ann"] = "auto"
    """`exact`: every example is compared; `ann`: the 500 that a graph of neighbours finds and some of the four
    likeliest labels, which may pass over a near one (needs `lmm-classifier[ann]`); `auto`: exact below a million
    examples."""
    candidates: int = Field(default=5, ge=1, le=MAX_CANDIDATES)
    """Labels listed in a result, and offered to the reranker."""
    evidence: int = Field(default=3, ge=1)
    """Neighbours listed per candidate."""
