"""The same index and the same results, bit by bit, for any batch size, number of threads and order of the files."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.config import PipelineConfig
from lmm_classifier.data.synthetic.catalog import KNOWN, UNKNOWN, draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.classifier import HybridClassifier

_ROOT = Path(__file__).parents[2]
_EXAMPLES, _IMAGES = 5, 8  # per label: the first five are examples, the others new

Case = tuple[int, int, int]  # batch size, threads, order of the files
CASES = tuple(product((1, 7, 32, 64), (1, 2), (0, 1)))


def determinism(cases: Sequence[Case] = CASES) -> Outcome:
    """Build and classify in processes that differ in batch size, threads and the order of files, and compare."""
    outcome = Outcome("determinism")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        images = [
            (label, image, draw(label, np.random.default_rng((number, image)), 48))
            for number, label in enumerate((*KNOWN[:6], UNKNOWN[0]))
            for image in range(_IMAGES)
        ]
        rng = random.Random(0)
        expected: dict[str, str] | None = None
        for order in sorted({order for _, _, order in cases}):
            rng.shuffle(images)  # a file system lists files in the order of their creation, or in its own
            dataset = folder / f"order{order}" / "dataset"
            _save(images, dataset)
            for batch, threads in [(batch, threads) for batch, threads, place in cases if place == order]:
                digests = _digests_in_process(dataset, batch, threads, order)
                expected = expected or digests
                different = [name for name in digests if digests[name] != expected[name]]
                case = f"batch {batch}, {threads} threads, order {order}"
                outcome.add(f"{case}: different {', '.join(different)}" if different else None)
    return outcome


def _save(images: Sequence[tuple[str, int, Image.Image]], dataset: Path) -> None:
    for label, number, image in images:
        is_new = number >= _EXAMPLES or label == UNKNOWN[0]
        folder = (dataset.with_name("new") if is_new else dataset) / label
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.png")


def _digests_in_process(dataset: Path, batch: int, threads: int, order: int) -> dict[str, str]:
    request = json.dumps({"dataset": str(dataset), "batch": batch, "threads": threads, "order": order})
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    env = {**os.environ, **limits, "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-m", "benchmarks.fault_injection.determinism", request]
    process = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    digests: dict[str, str] = json.loads(process.stdout.splitlines()[-1])
    return digests


def digests_of(dataset: Path, batch: int, threads: int, order: int) -> dict[str, str]:
    """Return digests of the index and of all results, in both index formats."""
    config = PipelineConfig.offline()
    config.encoder.batch_size, config.images.threads = batch, threads
    with tempfile.TemporaryDirectory() as name:
        digests = {}
        for kind in ("index", "index.npz"):
            config.retrieval.index_path = Path(name) / kind
            build_index_from_directory(dataset, config.retrieval.index_path, batch, config)
            index = Index.open(config.retrieval.index_path)
            rows = index.gallery.embeddings.tobytes() + index.vectors().tobytes()
            table = json.dumps([list(index.contents.paths), list(index.contents.labels), list(index.hashes)])
            digests[f"{kind} rows"] = hashlib.sha256(rows).hexdigest()
            digests[f"{kind} table"] = hashlib.sha256(table.encode()).hexdigest()
            results = json.dumps(_results(dataset.with_name("new"), config, reverse=order % 2 == 1))
            digests[f"{kind} results"] = hashlib.sha256(results.encode()).hexdigest()
        return digests


def _results(new: Path, config: PipelineConfig, reverse: bool) -> dict[str, object]:
    """Return the results by the names of the files, sorted."""
    paths = sorted(new.rglob("*.png"), reverse=reverse)
    results = zip(paths, HybridClassifier(config).classify_paths(paths))
    return dict(
        sorted((path.relative_to(new).as_posix(), result.to_dict() | {"path": None}) for path, result in results)
    )


def main() -> None:
    """Print the digests of the case on the command line, as JSON."""
    request = json.loads(sys.argv[1])
    print(json.dumps(digests_of(**(request | {"dataset": Path(request["dataset"])}))))


if __name__ == "__main__":
    main()
