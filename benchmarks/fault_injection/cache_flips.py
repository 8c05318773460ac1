"""Flip bits in the other files that the program keeps: answers, exports, digests, search graphs.

After each flip the answer must be the same as before, or the damage is reported.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.fault_injection.flips import flip, without_warnings
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.core import file_digests
from lmm_classifier.core.datatypes import Candidate, RerankRequest, RerankResult
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.embeddings.exported_model import ExportedModel, export_digest
from lmm_classifier.embeddings.preprocessing import Preprocessing, Source
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.hnsw import HnswGraph
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.vector_index import Index
from lmm_classifier.rerank.cache import CachedReranker
from lmm_classifier.testing import random_embeddings

_REQUESTS, _ROWS, _DIM = 40, 300, 16


class Model:
    """A reranker that answers by the pixels of the image, so that any other answer is noticed."""

    identity, references, trust = "model", 0, (1.0, 1.0)

    def rerank(self, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        """Return one answer per request."""
        shades = [request.image.getpixel((0, 0))[0] for request in requests]  # type: ignore[index]
        return [RerankResult((shade / 255, 1 - shade / 255), 0.9, "", 0.1, 0.05) for shade in shades]


def cache_flips(count: int) -> list[Outcome]:
    """Flip `count` bits in each kind of file."""
    kinds: list[tuple[str, Callable[[Path], None], Callable[[Path], object]]] = [
        ("flipped bit, stored answers", _make_answers, _ask),
        ("flipped bit, exported encoder", _make_export, _identify),
        ("flipped bit, stored digests", _make_digests, _digest),
        ("flipped bit, search graph", _make_graph, _search),
    ]
    with without_warnings():
        return [_flips(*kind, count) for kind in kinds]


def _flips(fault: str, make: Callable[[Path], None], ask: Callable[[Path], object], count: int) -> Outcome:
    outcome, reported = Outcome(fault), 0
    if make is _make_graph and importlib.util.find_spec("faiss") is None:
        outcome.skipped = "needs faiss"
        return outcome
    with tempfile.TemporaryDirectory() as name:
        good, bad = Path(name).resolve() / "good", Path(name).resolve() / "bad"
        good.mkdir()
        make(good)
        shutil.copytree(good, bad)
        expected = ask(bad)
        sizes = {file.relative_to(good): file.stat().st_size for file in _kept(good)}
        rng = random.Random(3)
        for _ in range(count):
            shutil.rmtree(bad)
            shutil.copytree(good, bad)
            file = rng.choices(list(sizes), list(sizes.values()))[0]
            bit = rng.randrange(8 * sizes[file])
            flip(bad / file, bit)
            try:
                problem = None if ask(bad) == expected else "another answer, not reported"
            except LmmClassifierError:
                problem, reported = None, reported + 1
            except Exception as error:  # noqa: BLE001 - any other error is a loss
                problem = f"{type(error).__name__}: {error}"
            outcome.add(problem and f"bit {bit} of {file}: {problem}")
    outcome.notes.append(f"{reported} refused with a message, the others gave the same answer")
    return outcome


def _kept(folder: Path) -> list[Path]:
    """Return the files to damage: all, or those in a folder `kept`."""
    kept = folder / "kept"
    return sorted(file for file in (kept if kept.exists() else folder).rglob("*") if file.is_file())


def _make_answers(folder: Path) -> None:
    _ask(folder)


def _ask(folder: Path) -> object:
    candidates = (Candidate("a", 0.5, ()), Candidate("b", 0.4, ()))
    requests = [RerankRequest(Image.new("RGB", (4, 4), (shade, 0, 0)), candidates) for shade in range(_REQUESTS)]
    cached = CachedReranker(Model(), folder / "answers.sqlite", 1000)
    return cached.rerank(requests)


def _make_export(folder: Path) -> None:
    (folder / "model.xml").write_bytes(b"<net/>" * 20)
    (folder / "model.bin").write_bytes(random.Random(0).randbytes(4000))
    source = Source(
        backend="siglip", model="m", revision="r", preprocessing="p", dim=4, digest="", cosines={"float32": 1}
    )
    description = Preprocessing(size=(32, 32), source=source)
    source = source.model_copy(update={"digest": export_digest(folder / "model.xml", description)})
    text = description.model_copy(update={"source": source}).model_dump_json(exclude_none=True, indent=1)
    (folder / "model.yaml").write_text(text, encoding="utf-8")  # JSON is YAML


def _identify(folder: Path) -> object:
    exported = ExportedModel.find(folder, ".xml")
    return exported.fingerprint("openvino", 4, "float32"), exported.preprocessing


def _make_digests(folder: Path) -> None:
    (folder / "weights").write_bytes(random.Random(0).randbytes(1 << 20))
    _digest(folder)


def _digest(folder: Path) -> object:
    """Return the digest of the weights, which are never damaged, by the digests stored in `kept`."""
    former, tick = os.environ.get("XDG_CACHE_HOME"), file_digests._TICK
    os.environ["XDG_CACHE_HOME"] = str(folder / "kept")
    file_digests._TICK = -1 << 62  # remember a file that was written just now
    try:
        return file_digests.file_digest(folder.parent / "good" / "weights")
    finally:
        file_digests._TICK = tick
        if former is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = former


def _make_graph(folder: Path) -> None:
    vectors = random_embeddings(np.random.default_rng(0), _ROWS, _DIM)
    manifest = Manifest(
        (EncoderEntry(Fingerprint("descriptor", "m", "1", "p", _DIM, "float32"), "identity"),), _ROWS, "/", "now", "0"
    )
    names = [f"{number:03}" for number in range(_ROWS)]
    contents = IndexContents(
        manifest, ["a"] * _ROWS, [f"a/{name}.png" for name in names], names, (EncoderVectors({}, lambda: [vectors]),)
    )
    write_index(folder / "index.npz", contents)
    _search(folder)


def _search(folder: Path) -> object:
    index = Index.open(folder / "index.npz")
    queries = random_embeddings(np.random.default_rng(1), 20, _DIM)
    (folder / "kept").mkdir(exist_ok=True)
    return np.sort(HnswGraph(index, folder / "kept").search(queries, 10)).tolist()
