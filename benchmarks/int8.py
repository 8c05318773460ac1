"""8-bit encoders next to their float32 and bfloat16 forms: speed, answers that change, accuracy.

Speed is processor time of one thread, in rounds by turns. Reading and resizing of images is left out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.accuracy import mobilenet
from benchmarks.quality_data import LabeledVectors, predict, split
from benchmarks.rows import Better, Row, where, write_rows
from benchmarks.side_by_side import value_range
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.protocols import Encoder, Preprocessed
from lmm_classifier.data.image_folder import scan_image_folder
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.openvino import OpenvinoEncoder, openvino_core
from lmm_classifier.embeddings.quantization import Form
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.evaluation.encoder_quantization import QuantizationReport, quantize_encoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index

COMMAND = "python -m benchmarks.int8 --data DATA --models MODELS"
FORMS: tuple[Form, ...] = ("onnx", "openvino")
_IMAGES, _ROUNDS, _SPLITS = 16, 20, 5


@dataclass(frozen=True)
class Subject:
    """An encoder of trained weights, and a folder for what is made of it."""

    name: str
    config: PipelineConfig
    folder: Path

    def vectors(self, dataset: Path, encoder: EncoderConfig | None = None) -> tuple[Path, LabeledVectors]:
        """Build an index of a folder, with this encoder or another; return its path and its vectors."""
        config = self.config.model_copy(deep=True)
        config.encoder = encoder or config.encoder
        output = self.folder / f"{len(list(self.folder.iterdir()))}.npz"
        build_index_from_directory(dataset, output, config=config)
        index = Index.open(output)
        return output, LabeledVectors(index.vectors(), np.array([example.label for example in index.examples]))


def answer_rows(subject: Subject, data: Path) -> Iterator[Row]:
    """Quantize with the images of each dataset, and compare answers and accuracy."""
    for dataset, new in (("clothing/train", "clothing/validation"), ("trashnet", None)):
        index, vectors = subject.vectors(data / dataset)
        other = subject.vectors(data / new)[1] if new else None
        name = dataset.partition("/")[0]
        for form in FORMS:
            output = subject.folder / f"{name}-{form}"
            report = quantize_encoder(index, output, subject.config, form, keep_anyway=True)
            encoder = EncoderConfig(backend=form, model=str(output))
            found = accuracies(vectors, other)
            quantized = subject.vectors(data / dataset, encoder)[1]
            found_8bit = accuracies(quantized, subject.vectors(data / new, encoder)[1] if new else None)
            prefix = f"8-bit {subject.name} by {form}, {name}"
            yield from _answers(prefix, report, 100 * found, 100 * found_8bit)


def accuracies(images: LabeledVectors, new: LabeledVectors | None) -> float:
    """Return the accuracy on new images; without them, the mean over splits of 80 to 20."""
    if new is not None:
        return float(predict(images, new).correct.mean())
    tasks = [split(images, seed) for seed in range(_SPLITS)]
    return float(np.mean([predict(task.dataset, task.new).correct.mean() for task in tasks]))


def _answers(prefix: str, report: QuantizationReport, accuracy: float, accuracy_8bit: float) -> Iterator[Row]:
    layers = f"{report.layers.quantized} of {report.layers.total} layers have 8 bits"
    against = f"{layers}; cosine mean {report.mean_cosine:.4f}, least {report.least_cosine:.4f}"
    yield _row(f"{prefix}: held-out answers that stay the same", 100 * report.agreement, "%", 99.5, "higher", against)
    error = 100 * report.standard_error
    against = f"held out, float32 {100 * report.accuracy:.1f}; goal: less one standard error of {error:.1f}"
    goal = round(100 * report.accuracy - error, 2)
    yield _row(f"{prefix}: held-out accuracy", 100 * report.accuracy_8bit, "%", goal, "higher", against)
    against = f"new images, float32 {accuracy:.1f}"
    yield _row(f"{prefix}: accuracy", accuracy_8bit, "%", None, "higher", against)


def speed_rows(subject: Subject, data: Path) -> Iterator[Row]:
    """Compare the processor time of the forms of an encoder."""
    encoders = _forms(subject)
    root = data / "trashnet"
    files = [root / example.path for example in scan_image_folder(root).examples][:: 887 // _IMAGES][:_IMAGES]
    seconds = in_turns(encoders, [Image.open(file).convert("RGB") for file in files])
    for form in FORMS:
        quantized = seconds[f"8-bit {form}"]
        for other in (name for name in seconds if not name.startswith("8-bit")):
            ratios = [slow / fast for slow, fast in zip(seconds[other], quantized, strict=True)]
            rate = statistics.median(seconds[other]) / statistics.median(quantized)
            times = (
                f"{1000 * statistics.median(quantized):.1f} ms an image, {1000 * statistics.median(seconds[other]):.1f}"
            )
            name = f"8-bit {subject.name} by {form}: speed against {other}"
            yield replace(_row(name, rate, "x", None, "higher", f"{times} before"), spread=value_range(ratios))


def _forms(subject: Subject) -> Mapping[str, Encoder]:
    """Return the forms of an encoder on one thread each; the 8-bit ones were made with trashnet."""
    config = subject.config.encoder.model_copy(update={"threads": 1})
    plain = open_encoder(config)
    xml = subject.folder / "float32.xml"
    model = plain.exported.model  # type: ignore[attr-defined]
    import openvino

    openvino.save_model(openvino_core().read_model(model), xml, compress_to_fp16=False)
    description = plain.exported.preprocessing.model_copy(update={"source": None})  # type: ignore[attr-defined]
    xml.with_suffix(".yaml").write_text(description.model_dump_json(exclude_none=True), encoding="utf-8")
    encoders = {
        "float32 onnx": plain,
        "float32 openvino": OpenvinoEncoder(xml, "float32", 1),
        "bfloat16 openvino": OpenvinoEncoder(xml, "bfloat16", 1),
    }
    for form in FORMS:
        made = EncoderConfig(backend=form, model=str(subject.folder / f"trashnet-{form}"), threads=1)
        encoders[f"8-bit {form}"] = open_encoder(made)
    return encoders


def in_turns(encoders: Mapping[str, Encoder], images: list[Image.Image]) -> dict[str, list[float]]:
    """Return the processor seconds of one image in each round, for each encoder."""
    preprocessed: dict[str, list[Preprocessed]] = {
        name: [encoder.preprocess(image) for image in images] for name, encoder in encoders.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for number in range(_ROUNDS + 1):
        for name, encoder in encoders.items():
            started = time.process_time()
            encoder.encode(preprocessed[name])
            if number:  # the first round loads the model
                seconds[name].append((time.process_time() - started) / len(images))
    return seconds


def _row(name: str, value: float, unit: str, goal: float | None, better: Better, against: str) -> Row:
    return Row(name, round(value, 2), unit, goal, better, against, "", COMMAND)


def main() -> None:
    """Measure everything and write benchmarks/results/int8.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/ and trashnet/")
    parser.add_argument("--models", type=Path, required=True, help="folder with mobilenet_v2/model.onnx")
    arguments = parser.parse_args()
    place = where("onnxruntime", "openvino", "nncf")
    measured: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        configs = {
            "lite0": PipelineConfig(allow_unknown=False),
            "MobileNetV2": mobilenet(arguments.models, Path(folder)),
        }
        configs["lite0"].encoder.backend, configs["lite0"].rerank.enabled = "lite", False
        for name, config in configs.items():
            config.retrieval.rule = "auto"
            subject = Subject(name, config, Path(folder) / f"made-{name}")
            subject.folder.mkdir()
            for rows in (answer_rows, speed_rows):
                for row in rows(subject, arguments.data):
                    measured.append(replace(row, where=place))
                    print(f"{row.name}: {row.value:g} {row.unit} {row.against}", flush=True)
    write_rows("int8", measured)


if __name__ == "__main__":
    main()
