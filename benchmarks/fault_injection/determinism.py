"""The same index and the same answers, bit by bit: for any batch, any number of threads, any order of the files."""

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

from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.config import PipelineConfig
from lmm_classifier.data.synthetic.catalog import KNOWN, UNKNOWN, draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.pipeline.classifier import HybridClassifier

_ROOT = Path(__file__).parents[2]


Case = tuple[int, int, int]  # batch size, threads, which order of the files
CASES = tuple(product((1, 7, 32, 64), (1, 2), (0, 1)))


def determinism(cases: Sequence[Case] = CASES) -> Outcome:
    """Build and classify in processes that differ in batch size, threads and the order of files; compare."""
    import numpy as np

    outcome = Outcome("determinism")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        pictures = [
            (label, one, draw(label, np.random.default_rng((number, one)), 48))
            for number, label in enumerate((*KNOWN[:6], UNKNOWN[0]))
            for one in range(8)
        ]
        dice, first = random.Random(0), None
        for order in sorted({order for _, _, order in cases}):
            corpus = place / f"order{order}" / "corpus"
            dice.shuffle(pictures)  # the file system tells them in the order of their making, or of its own
            for label, one, picture in pictures:
                folder = corpus.with_name("new") / label if one >= 5 or label == UNKNOWN[0] else corpus / label
                folder.mkdir(parents=True, exist_ok=True)
                picture.save(folder / f"{one}.png")
            for batch, count in [(batch, count) for batch, count, which in cases if which == order]:
                found = _apart(corpus, batch, count, order)
                first = first or found
                wrong = [name for name in found if found[name] != first[name]]
                case = f"batch {batch}, {count} threads, order {order}"
                outcome.add(f"{case}: other {', '.join(wrong)}" if wrong else None)
    return outcome


def _apart(corpus: Path, batch: int, threads: int, order: int) -> dict[str, str]:
    wish = json.dumps({"corpus": str(corpus), "batch": batch, "threads": threads, "order": order})
    numbers = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    env = {**os.environ, **numbers, "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-m", "benchmarks.fault_injection.determinism", wish]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def digests(corpus: Path, batch: int, threads: int, order: int) -> dict[str, str]:
    """Digests of the index and of all verdicts, by the names of the files."""
    config = PipelineConfig.offline()
    config.encoder.batch_size, config.images.threads = batch, threads
    with tempfile.TemporaryDirectory() as name:
        found = {}
        for kind in ("index", "index.npz"):
            config.retrieval.index_path = Path(name) / kind
            build_index_from_directory(corpus, config.retrieval.index_path, batch, config)
            index = ExactIndex.open(config.retrieval.index_path)
            rows = index.gallery.units.tobytes() + index.vectors().tobytes()
            table = json.dumps([list(index.contents.paths), list(index.contents.labels), list(index.hashes)])
            found[f"{kind} rows"] = hashlib.sha256(rows).hexdigest()
            found[f"{kind} table"] = hashlib.sha256(table.encode()).hexdigest()
            new = sorted(corpus.with_name("new").rglob("*.png"))
            if order % 2:
                new.reverse()
            verdicts = {}
            for path, verdict in zip(new, HybridClassifier(config).classify_paths(new)):
                told = verdict.to_dict() | {"path": None}
                verdicts[path.relative_to(corpus.with_name("new")).as_posix()] = told
            said = json.dumps(dict(sorted(verdicts.items())))
            found[f"{kind} verdicts"] = hashlib.sha256(said.encode()).hexdigest()
        return found


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    asked["corpus"] = Path(asked["corpus"])
    print(json.dumps(digests(**asked)))
