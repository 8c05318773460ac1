"""What a second encoder costs: in a build, and in a cascade whose large encoder is asked about a quarter of the images.

The towers of the cascade have the real shapes and random weights, so the images that it asks about are drawn.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encoders import transformers_pipeline
from benchmarks.real_shapes import BASE, SO400M, Shape, photographs
from benchmarks.rows import Row, where, write_rows
from benchmarks.side_by_side import in_turns, ratio, value_range
from lmm_classifier.calibration.fusion.cascade import Cascade
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.images import read_image
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors

COMMAND = "python -m benchmarks.encoders_fused_time"
_ASKED = 0.25
_ROUNDS, _BUILD_ROUNDS = 3, 20


def build_row(work: Path) -> Row:
    """Compare the processor time of a build with two encoders with that of two builds, less one decode."""
    paths = photographs(work / "images", 48, (640, 480))
    encoders = [
        open_encoder(EncoderConfig(backend="lite", threads=1)),
        open_encoder(EncoderConfig(backend="descriptor")),
    ]
    number = iter(range(10**6))

    def build(chosen: Sequence[Encoder]) -> Callable[[], None]:
        return lambda: _build(work / "images", work / f"index-{next(number)}", chosen)

    # two encoders decode at the scale of the larger one, so a single build does so too
    side = max(encoder.image_size for encoder in encoders)
    jobs: dict[str, Callable[[], Any]] = {
        "both": build(encoders),
        "first": build(encoders[:1]),
        "second": build(encoders[1:]),
        "decode": lambda: [read_image(path, min_side=side) for path in paths],
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(_BUILD_ROUNDS):
        for name, job in jobs.items():
            started = time.process_time()
            job()
            seconds[name].append(time.process_time() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    expected = medians["first"] + medians["second"] - medians["decode"]
    ratios = [
        both / (first + second - decode)
        for both, first, second, decode in zip(*(seconds[name] for name in ("both", "first", "second", "decode")))
    ]
    return Row(
        "a second encoder in the build: processor time, relative to both builds less one decode",
        round(medians["both"] / expected, 3),
        "x",
        1.03,
        "lower",
        f"{len(paths)} JPEGs of 640x480, lite and descriptor, {_BUILD_ROUNDS} rounds in turns; "
        f"decode {medians['decode']:.2f} s of {medians['both']:.2f} s",
        where("onnxruntime"),
        COMMAND,
        value_range(ratios),
    )


def _build(root: Path, output: Path, encoders: Sequence[Encoder]) -> None:
    config = PipelineConfig()
    config.images.threads = 1
    build_index_from_directory(root, output, config=config, encoder=encoders)


def cascade_rows(work: Path, count: int) -> list[Row]:
    """Compare a cascade of a small and a large tower with the large one alone, and with a transformers pipeline."""
    encoders = [_tower(shape, work) for shape in (BASE, SO400M)]
    photographs(work / "dataset", 16, (640, 480))
    paths = photographs(work / "new", count, (640, 480))
    alone = _classifier(work, "alone", encoders[1:], cascade=False)
    cascade = _classifier(work, "cascade", encoders, cascade=True)
    asked = _ask_about(cascade, encoders, paths)
    run_pipeline = transformers_pipeline(work / SO400M.name / "checkpoint")
    jobs: dict[str, Callable[[], Any]] = {
        "cascade": lambda: list(cascade.classify_paths(paths)),
        "alone": lambda: list(alone.classify_paths(paths)),
        "pipeline": lambda: run_pipeline(paths[: count // 3]),
    }
    times = in_turns(jobs, _ROUNDS)
    data = (
        f"{count} JPEGs of 640x480, SigLIP {BASE.name} -> {SO400M.name}, OpenVINO {encoders[1].fingerprint.dtype}, "
        f"random weights, {100 * asked:.0f} % asked; cascade {count / times['cascade'].median:.2f}/s"
    )
    factor, spread = ratio(times["alone"], times["cascade"])
    share = (count // 3) / count
    of_pipeline = times["pipeline"].median / share / times["cascade"].median
    spreads = [one / share / other for one, other in zip(times["pipeline"].seconds, times["cascade"].seconds)]
    place = where("openvino", "torch", "transformers")
    name = "a cascade of two towers: images per second, relative to"
    return [
        Row(f"{name} the large one alone", round(factor, 2), "x", 2.5, "higher", data, place, COMMAND, spread),
        Row(
            f"{name} a transformers pipeline of the large one",
            round(of_pipeline, 2),
            "x",
            6.0,
            "higher",
            f"{data}; pipeline, one image at a time, {count * share / times['pipeline'].median:.2f}/s",
            place,
            COMMAND,
            value_range(spreads),
        ),
    ]


def _tower(shape: Shape, work: Path) -> Encoder:
    folder = work / shape.name
    folder.mkdir(parents=True)
    checkpoint = shape.save(folder / "checkpoint")
    return open_encoder(EncoderConfig(backend="openvino", model=str(checkpoint), converted_dir=folder / "converted"))


def _classifier(work: Path, name: str, encoders: Sequence[Encoder], cascade: bool) -> HybridClassifier:
    config = PipelineConfig()
    config.retrieval.index_path, config.rerank.enabled = work / name, False
    config.retrieval.cascade, config.retrieval.zero_shot_text = cascade, "off"
    build_index_from_directory(work / "dataset", work / name, config=config, encoder=encoders)
    return HybridClassifier(config, encoders)


def _ask_about(classifier: HybridClassifier, encoders: Sequence[Encoder], paths: Sequence[Path]) -> float:
    """Let the cascade ask the large tower about a quarter of the images; return the fraction that it asks about."""
    flow = classifier._current_flow()
    stages = flow.retriever.calibration.cascade.stages
    if len(stages) < 2:
        raise RuntimeError("expected a cascade of two stages: the small tower alone, then both")
    images = [read_image(path).image for path in paths]
    never = replace(flow.retriever.calibration, cascade=Cascade((replace(stages[0], ask_up_to=-1.0), *stages[1:])))
    scored = replace(flow.retriever, calibration=never).score(QueryVectors.of_images(encoders, images))
    confidence = scored.probabilities.max(axis=1)
    threshold = float(np.sort(confidence)[round(_ASKED * len(paths)) - 1])
    drawn = replace(never, cascade=Cascade((replace(stages[0], ask_up_to=threshold), *stages[1:])))
    classifier._current_flow._flow = replace(flow, retriever=replace(flow.retriever, calibration=drawn))
    return float((confidence <= threshold).mean())


def main() -> None:
    """Measure both, and write benchmarks/results/encoders_fused_time.json."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        measured = [build_row(Path(first)), *cascade_rows(Path(second), 24)]
    for row in measured:
        print(f"{row.name}: {row.value:g} {row.unit} (goal {row.goal}; {row.spread}) {row.against}")
    write_rows("encoders_fused_time", measured)


if __name__ == "__main__":
    main()
