"""The settings of a classifier: one model, read from YAML or built in Python; its defaults are the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator

from lmm_classifier.ahead import processors
from lmm_classifier.config_section import MAX_CANDIDATES, PathField, Section, Share, explain, unknown_key
from lmm_classifier.errors import ConfigError
from lmm_classifier.images import ImageLimits
from lmm_classifier.rerank_config import RerankConfig
from lmm_classifier.yaml_reader import read_yaml


class EncoderConfig(Section):
    """Which encoder turns pictures into vectors."""

    backend: Literal["siglip", "openvino", "onnx", "descriptor"] = "siglip"
    """`siglip` (transformers: SigLIP, SigLIP 2, CLIP), `openvino` (the same, faster on a CPU), `onnx` (an
    exported model), `descriptor` (weight-free)."""
    model: str = "google/siglip-so400m-patch14-384"
    """Hub name or folder (siglip); the same, or the folder of an export (openvino); the folder of an export, or an
    `.onnx` file (onnx); not used by descriptor."""
    revision: str | None = None
    """Branch, tag or commit of a hub model; null means its default branch."""
    cache_dir: PathField | None = None
    """Where hub models are kept; null means the library's own cache."""
    converted_dir: PathField | None = None
    """Where `openvino` keeps the checkpoints that it has converted; null means the user's cache folder."""
    allow_download: bool = True
    """Download a hub model that is not in the cache. The cache is always tried first."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`; only for siglip, the others compute on the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 where the device computes in it, else float32. An ONNX model has its own."""
    threads: int = Field(default=0, ge=0)
    """Threads that the encoder computes with on a CPU; 0 means one per processor (siglip: as many as torch chooses)."""
    forward_batch: int = Field(default=0, ge=0)
    """Pictures in one forward pass of siglip; 0 means 1 on a CPU, and on CUDA as many as fill the chip."""
    compile: bool = False
    """Let torch compile the tower of siglip: the first pictures take minutes, the others are a little faster."""
    batch_size: int = Field(default=64, ge=1)
    """Pictures after which vectors are kept and verdicts given; changes the speed, never an answer."""


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


class LoggingConfig(Section):
    """What is logged, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is written."""
    json_lines: bool = False
    """One JSON object per line instead of plain text."""
    file: PathField | None = None
    """Append to this file instead of writing to standard error."""


# What config/offline.yaml says: nothing that has to be downloaded.
OFFLINE: dict[str, Any] = {
    "encoder": {"backend": "descriptor"},
    "rerank": {"backend": "views"},
}


class PipelineConfig(Section):
    """Everything a `HybridClassifier` needs to know; unknown keys and wrong types are refused by path."""

    labels: list[str] | None = None
    """Only these labels may be answered; null means every label of the index."""
    allow_unknown: bool = True
    """Open set: a picture near nothing is `unknown`. When off, some label is always given."""
    unknown_label: str = "unknown"
    """What a rejected picture is called."""
    encoder: EncoderConfig = EncoderConfig()  # copied for each instance
    retrieval: RetrievalConfig = RetrievalConfig()  # copied for each instance
    rerank: RerankConfig = RerankConfig()  # copied for each instance
    images: ImagesConfig = ImagesConfig()  # copied for each instance
    logging: LoggingConfig = LoggingConfig()  # copied for each instance

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: list[str] | None) -> list[str] | None:
        if labels is not None:
            if not labels:
                raise ValueError("must name at least one label, or be null for every label of the index")
            if twice := sorted({label for label in labels if labels.count(label) > 1}):
                raise ValueError(f"names {', '.join(map(repr, twice))} more than once")
        return labels

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(explain(type(self), error)) from None

    @classmethod
    def from_yaml(cls, path: Path | str) -> Self:
        """Read `path`; keys that are absent keep their defaults. Raises ConfigError with the key's path."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the configuration {path}: {error}") from error
        values = read_yaml(text, str(path))
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def offline(cls) -> Self:
        """The embedded default that needs no download: the descriptor, and a second look by views."""
        return cls(**OFFLINE)

    def set(self, setting: str) -> None:
        """Change one value by text, e.g. `retrieval.k=10`; the value is read as YAML. Raises ConfigError."""
        key, equals, text = setting.partition("=")
        *path, last = key.strip().split(".")
        if not equals:
            raise ConfigError(f"expected KEY=VALUE, such as retrieval.k=10, got {setting!r}")
        section: Section = self
        for depth, step in enumerate(path):
            section = getattr(section, step, None) if step in type(section).model_fields else None  # type: ignore[assignment]
            if not isinstance(section, Section):
                raise ConfigError(unknown_key(type(self), (), ".".join(path[: depth + 1])))
        if last not in type(section).model_fields:
            raise ConfigError(unknown_key(type(self), tuple(path), last))
        value = read_yaml(f"value: {text}", setting)["value"]
        try:
            setattr(section, last, value)
        except ConfigError as error:
            raise ConfigError(f"--set {setting}: {error}") from None
