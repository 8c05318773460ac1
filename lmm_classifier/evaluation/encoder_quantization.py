"""Makes an 8-bit encoder for the images of an index, and keeps it only if it answers as the encoder itself does.

Both encoders' vectors of the index's images are compared by leave-one-out: the accuracy, and how many answers change.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import CalibrationError, EncoderError
from lmm_classifier.core.index_location import IndexLocation, index_location
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.core.protocols import Encoder, Preprocessed
from lmm_classifier.data.images import DecodedImage, read_images
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.exported_model import ExportedEncoder
from lmm_classifier.embeddings.quantization import (
    SUFFIX,
    Form,
    QuantizedLayers,
    default_form,
    quantize,
    require_quantizer,
)
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.manifest import EncoderEntry
from lmm_classifier.index.settings.remembered import config_of_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.index_encoder import encode_readable

LEAST_AGREEMENT = 0.995  # fraction of held-out answers that must stay the same
FLOAT_FRACTIONS = (0.0, 0.15)  # of the layers, that stay as they are; tried in this order until one is kept
_SHOWN = 200  # images that show the ranges of the activations
_MOST = 5000  # images that are compared
_TIMED, _ROUNDS = 16, 5
_BACKENDS = ("lite", "onnx", "openvino")


@dataclass(frozen=True)
class QuantizationReport:
    """An 8-bit encoder next to the encoder that it was made from, on the images of an index."""

    output: Path  # its folder, where it was kept
    form: Form
    layers: QuantizedLayers
    images: int  # held out one at a time
    accuracy: float  # of the encoder, 0 to 1
    accuracy_8bit: float
    standard_error: float  # of the accuracy
    changed: int  # answers that differ
    mean_cosine: float  # of the vectors of both
    least_cosine: float
    speedup: float  # processor time of the encoder through that of the 8-bit encoder, without reading images
    megabytes: float  # of the files of the encoder
    megabytes_8bit: float
    kept: bool
    setting: str = "encoder"  # the section of the configuration that names the encoder, such as `encoder.0`
    others: tuple[QuantizationReport, ...] = ()  # the other ways that were tried, in their order

    @property
    def agreement(self) -> float:
        """Return the fraction of answers that stay the same, 0 to 1."""
        return 1 - self.changed / self.images

    @property
    def may_differ(self) -> float:
        """Return the fraction of new answers that may differ where none of these do, at 95% confidence, 0 to 1."""
        return min(3 / self.images, 1.0)

    @property
    def faults(self) -> list[str]:
        """Return what is worse than allowed, in words; empty where the 8-bit encoder is as good."""
        faults = []
        if self.accuracy_8bit < self.accuracy - self.standard_error:
            loss, error = 100 * (self.accuracy - self.accuracy_8bit), 100 * self.standard_error
            faults.append(f"the accuracy falls by {loss:.1f} points, expected at most {error:.1f}")
        if self.agreement < LEAST_AGREEMENT:
            faults.append(
                f"{100 * self.agreement:.1f}% of the answers stay the same, expected {100 * LEAST_AGREEMENT:g}%"
            )
        return faults


def quantize_encoder(
    index_path: Path | str,
    output: Path | str,
    config: PipelineConfig | None = None,
    form: Form | None = None,
    *,
    keep_anyway: bool = False,
    progress: ProgressCallback | None = None,
) -> QuantizationReport:
    """Make an 8-bit encoder of the one that an index was built with, and keep it if its answers are the same.

    It is kept if the leave-one-out accuracy stays within one standard error, and 99.5% of the answers stay the same.
    First all layers get 8 bits. If that is not good enough, the first 15% stay as they are. The way with
    more equal answers counts.

    Args:
        index_path: the index; its images show the ranges of the activations, and are compared. At most 5,000 are.
        output: the folder to create.
        config: names the encoder of the index: backend `lite`, `onnx` or `openvino`. None: what it remembers.
        form: `openvino` or `onnx`; None is that of the encoder's model.
        keep_anyway: keep it whatever the figures are.
        progress: called between two batches; raise `Cancelled` in it to stop.

    Raises:
        CalibrationError: the index has too few images that can still be read.
        EncoderError: the encoder cannot be quantized, or the folder is in use.
        IndexMismatchError: the index was built with another encoder.
        MissingExtraError: a library is missing.
    """
    path, folder, config = index_location(index_path), expand_home(output), config or config_of_index(index_path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise EncoderError(f"{folder} exists and is not empty: it is not changed; choose another folder")
    position, encoder = _quantizable(config)
    threads, setting = (
        config.encoders[position].threads,
        f"encoder.{position}" if len(config.encoders) > 1 else "encoder",
    )
    index = Index.open(path, encoder.fingerprint)
    form = form or default_form(encoder)
    require_quantizer(form)
    _require_examples(index.label_ids, path)
    quantizer = _Quantizer(index, path, config, encoder, form, threads, progress)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.parent):
            pass
    except OSError as error:
        raise EncoderError(f"{folder} cannot be written: {error.strerror}; choose another folder") from error
    with tempfile.TemporaryDirectory(prefix=".quantized-", dir=folder.parent) as temporary:
        tried = []
        for fraction in FLOAT_FRACTIONS:
            tried.append(quantizer.attempt(Path(temporary) / f"{fraction:g}", fraction))
            if not tried[-1].faults:
                break
        best = max(tried, key=lambda report: (not report.faults, report.agreement))
        kept = keep_anyway or not best.faults
        if kept:
            if folder.is_dir():
                folder.rmdir()
            shutil.move(best.output, folder)
    others = tuple(report for report in tried if report is not best)
    return replace(best, output=folder, kept=kept, setting=setting, others=others)


def _quantizable(config: PipelineConfig) -> tuple[int, ExportedEncoder]:
    """Open the one configured encoder that can be quantized; return its position too."""
    sections = enumerate(config.encoders)
    places = [place for place, section in sections if section.backend in _BACKENDS and section.view is None]
    if len(places) != 1:
        found = ", ".join(section.backend for section in config.encoders)
        raise EncoderError(
            f"expected one encoder with encoder.backend {', '.join(_BACKENDS[:-1])} or {_BACKENDS[-1]} on whole "
            f"images, got {found}: name one. Another encoder can be exported; then build an index with the export"
        )
    encoder = open_encoder(config.encoders[places[0]])
    assert isinstance(encoder, ExportedEncoder)
    return places[0], encoder


class _Quantizer:
    """Quantizes an encoder in several ways, and measures each on the images of an index."""

    def __init__(
        self,
        index: Index,
        path: IndexLocation,
        config: PipelineConfig,
        encoder: ExportedEncoder,
        form: Form,
        threads: int,
        progress: ProgressCallback | None,
    ) -> None:
        self._index, self._path, self._config, self._progress = index, path, config, progress
        self._encoder, self._form, self._threads = encoder, form, threads
        self._rows = np.sort(np.random.default_rng(0).permutation(len(index))[:_MOST])
        self._shown = _preprocessed(index, encoder, self._rows, config)
        if not index.manifest.has_images:
            raise CalibrationError(f"{path} was made from vectors, so it has no images to quantize the encoder with")
        if not self._shown:
            raise CalibrationError(f"no image of {path} can be read below {index.manifest.image_root}")

    def attempt(self, folder: Path, float_fraction: float) -> QuantizationReport:
        """Write an 8-bit encoder to a new folder and measure it."""
        folder.mkdir()
        layers = quantize(self._encoder, self._shown, self._form, folder, float_fraction)
        settings = EncoderConfig(backend=self._form, model=str(folder), threads=self._threads)
        quantized = open_encoder(settings)
        vectors, rows = _encoded(self._index, quantized, self._rows, self._config, self._progress)
        _require_examples(self._index.label_ids[rows], self._path)
        return replace(
            _compared(self._index, vectors, rows, self._config),
            output=folder,
            form=self._form,
            layers=layers,
            speedup=_speedup(self._encoder, quantized, self._shown[:_TIMED]),
            megabytes=_size(self._encoder.exported.model),
            megabytes_8bit=_size(folder / f"model{SUFFIX[self._form]}"),
        )


def _require_examples(label_ids: IntArray, path: IndexLocation) -> None:
    labels = len(np.unique(label_ids))
    if labels < 2 or len(label_ids) <= labels:
        raise CalibrationError(
            f"{path} has {len(label_ids)} images of {labels} labels that can be compared. Leave-one-out needs two "
            "labels, and more than one image of some."
        )


def _preprocessed(index: Index, encoder: ExportedEncoder, rows: IntArray, config: PipelineConfig) -> list[Preprocessed]:
    """Preprocess some images, drawn over all labels alike in their order."""
    drawn = np.random.default_rng(1).permutation(rows)[:_SHOWN]
    files = [index.contents.file_of(index.contents.paths[row]) for row in drawn]
    images = read_images(files, config.images.limits, encoder.image_size, 2)
    return [encoder.preprocess(image.image) for image in images if isinstance(image, DecodedImage)]


def _encoded(
    index: Index, encoder: Encoder, rows: IntArray, config: PipelineConfig, progress: ProgressCallback | None
) -> tuple[Float32Array, IntArray]:
    """Encode the images of some rows; return the vectors and rows of those whose content is that of the index."""
    files = [index.contents.file_of(index.contents.paths[row]) for row in rows]
    (vectors,), encoded = encode_readable([encoder], files, config, progress)
    same = [n for n, file in enumerate(encoded) if file.content_hash == index.hashes[rows[file.position]]]
    return vectors[same], rows[[encoded[n].position for n in same]]


def _compared(index: Index, vectors: Float32Array, rows: IntArray, config: PipelineConfig) -> QuantizationReport:
    """Compare new vectors of some rows with those of the index; what is not of vectors is filled in later."""
    former = index.vectors()[rows]
    compared = [_in_memory(index, rows, part) for part in (former, vectors)]
    own, new = (fit_by_leave_one_out(config.retrieval, [part])[1] for part in compared)
    images, accuracy = len(own.rows), float(own.correct.mean())
    cosines = (former * vectors).sum(axis=1)
    return QuantizationReport(
        output=Path(),
        form="onnx",
        layers=QuantizedLayers(0, 0),
        images=images,
        accuracy=accuracy,
        accuracy_8bit=float(new.correct.mean()),
        standard_error=float(np.sqrt(accuracy * (1 - accuracy) / images)),
        changed=int((own.log_probabilities.argmax(axis=1) != new.log_probabilities.argmax(axis=1)).sum()),
        mean_cosine=float(cosines.mean()),
        least_cosine=float(cosines.min()),
        speedup=0.0,
        megabytes=0.0,
        megabytes_8bit=0.0,
        kept=False,
    )


def _in_memory(index: Index, rows: IntArray, vectors: Float32Array) -> Index:
    """Return an index of some of the rows with these vectors."""
    contents = IndexContents(
        replace(index.manifest, count=len(rows), encoders=(EncoderEntry(index.fingerprint, "identity"),)),
        [index.label_names[index.label_ids[row]] for row in rows],
        [index.contents.paths[row] for row in rows],
        [index.hashes[row] for row in rows],
        (EncoderVectors({}, lambda: [vectors]),),
    )
    return Index(contents, IdentityTransform(), vectors)


def _speedup(encoder: Encoder, quantized: Encoder, images: Sequence[Preprocessed]) -> float:
    """Return how many times as fast the second encoder is, by the medians of processor time of rounds in turns."""
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(_ROUNDS):
        for number, timed in enumerate((encoder, quantized)):
            started = time.process_time()
            timed.encode(images)
            seconds[number].append(time.process_time() - started)
    return statistics.median(seconds[0]) / statistics.median(seconds[1])


def _size(model: Path) -> float:
    """Return the megabytes of a model with its weights."""
    files = {model, *model.parent.glob(f"{model.name}.*"), *model.parent.glob(f"{model.stem}.bin")}
    return sum(file.stat().st_size for file in files) / 1e6
