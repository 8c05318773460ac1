"""The processor time of an image in the queue of many callers, compared with the encoder alone and with `classify`.

The images are drawn patterns, JPEG of 320 x 320 pixels; the encoder is `lite`. Processor time of all threads counts,
because wall-clock time depends on what else the machine does. The jobs run in turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.rows import Row, run_part, where
from benchmarks.side_by_side import value_range
from lmm_classifier.batching.classifier_queue import ClassifierQueue
from lmm_classifier.config import PipelineConfig
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier

COMMAND = "python -m benchmarks.serving"
SUBMITTERS = (1, 8, 32)
_SIDE = 320  # pixels of an image
_BATCH = 16  # images that the encoder alone gets together

Job = Callable[[], object]


def draw_images(root: Path, count: int, seed: int) -> list[Path]:
    """Draw images of all patterns, `root/<pattern>/NNNN.jpg`."""
    labels, rng, paths = KNOWN, np.random.default_rng(seed), []
    for number in range(count):
        path = root / labels[number % len(labels)] / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(path.parent.name, rng, _SIDE).save(path, quality=85)
        paths.append(path)
    return paths


@contextmanager
def opened(examples: int) -> Iterator[HybridClassifier]:
    """Yield a classifier on so many drawn examples, without a reranker."""
    with tempfile.TemporaryDirectory() as name:
        config = PipelineConfig.model_validate({"encoder": {"backend": "lite"}, "rerank": {"enabled": False}})
        config.retrieval.index_path = Path(name) / "index"
        draw_images(Path(name) / "dataset", examples, seed=0)
        build_index_from_directory(Path(name) / "dataset", config.retrieval.index_path, config=config)
        with HybridClassifier(config) as classifier:
            yield classifier


def through_queue(queue: ClassifierQueue, images: Sequence[bytes], submitters: int) -> None:
    """Classify images by threads that each wait for their answer before they submit the next image."""
    with ThreadPoolExecutor(submitters) as pool:
        list(pool.map(lambda image: queue.submit(image, float("inf")).result(), images))


def jobs_of(classifier: HybridClassifier, paths: Sequence[Path], queue: ClassifierQueue) -> dict[str, Job]:
    """Return the jobs; each handles all images once."""
    images = [path.read_bytes() for path in paths]
    (encoder,) = classifier.encoders
    inputs = [classifier.prepare(image).inputs[0] for image in images]

    def encode() -> None:
        for start in range(0, len(inputs), _BATCH):
            encoder.encode(inputs[start : start + _BATCH])

    def one_by_one() -> None:
        for image in images:
            classifier.classify(image)

    def one_by_one_on_one_blas_thread() -> None:
        with threadpool_limits(1, "blas"):
            one_by_one()

    jobs: dict[str, Job] = {
        "encoder": encode,
        "one by one": one_by_one,
        "one BLAS thread": one_by_one_on_one_blas_thread,
        "stream": lambda: list(classifier.classify_paths(paths)),
    }
    for submitters in SUBMITTERS:
        jobs[f"queue {submitters}"] = partial(through_queue, queue, images, submitters)
    return jobs


def processor_seconds(jobs: Mapping[str, Job], rounds: int) -> dict[str, list[float]]:
    """Run the jobs in turns; return the processor seconds of each round."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            started = time.process_time()
            job()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - started)
    return seconds


def check_identity(classifier: HybridClassifier, paths: Sequence[Path], queue: ClassifierQueue, count: int) -> int:
    """Return how many of `count` answers through the queue, of 32 threads, are those of `classify`."""
    expected = [classifier.classify(path) for path in paths]
    order = np.random.default_rng(2).integers(0, len(paths), count).tolist()
    with ThreadPoolExecutor(max(SUBMITTERS)) as pool:
        answers = pool.map(lambda place: queue.submit(paths[place], float("inf")).result(), order)
        return sum(answer == expected[place] for place, answer in zip(order, answers))


def rows(quick: bool = False) -> list[Row]:
    """Measure in about four minutes; with `quick` on fewer images, in fewer rounds."""
    examples, count, rounds, answers = (200, 32, 2, 100) if quick else (1_800, 96, 7, 2_000)
    with tempfile.TemporaryDirectory() as name, opened(examples) as classifier:
        paths = draw_images(Path(name), count, seed=1)
        with ClassifierQueue(classifier, limit=64) as queue:
            seconds = processor_seconds(jobs_of(classifier, paths, queue), rounds)
            same = check_identity(classifier, paths, queue, answers)
    place, size = (
        where("onnxruntime"),
        f"{examples:,} examples, {count} images of {_SIDE} x {_SIDE} px, {rounds} rounds",
    )
    measured = [
        Row(
            f"processor time, {job}",
            round(1000 * statistics.median(of_job) / count, 2),
            "ms/image",
            None,
            "lower",
            size,
            place,
            COMMAND,
            value_range([1000 * value / count for value in of_job]),
        )
        for job, of_job in seconds.items()
    ]

    def compared(name: str, job: str, base: str, goal: float | None, better: str = "higher") -> Row:
        pairs = zip(seconds[base], seconds[job], strict=True)
        ratios = [second / first if better == "lower" else first / second for first, second in pairs]
        value = round(statistics.median(ratios), 2)
        return Row(name, value, "x", goal, better, size, place, COMMAND, value_range(ratios))  # type: ignore[arg-type]

    measured += [
        compared("queue, 32 callers: share of the encoder alone", "queue 32", "encoder", 0.75),
        compared("queue, 32 callers: speed relative to classify() one by one", "queue 32", "one by one", 1.4),
        compared("queue, 1 caller: speed relative to classify() one by one", "queue 1", "one by one", 0.93),
        compared(
            "classify() one by one: cost relative to one BLAS thread", "one by one", "one BLAS thread", 1.1, "lower"
        ),
    ]
    name = "queue, 32 callers: answers that are those of classify()"
    measured.append(Row(name, 100 * same / answers, "%", 100, "higher", f"{answers:,} answers", place, COMMAND))
    return measured


if __name__ == "__main__":
    run_part("serving", __doc__, rows)
