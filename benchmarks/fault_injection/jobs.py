"""What is interrupted: a build, a sync and edits of a small corpus, with the real encoder that needs no weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.core.protocols import FloatArray, Prepared
from lmm_classifier.data.image_folder import scan_corpus
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.encode_files import LazyEncoder
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.sync import Sync
from lmm_classifier.index.doctor import examine
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import ExactIndex

BATCH = 3
Told = Callable[[int], None]  # called with the number of pictures that are committed; a bad one never is


class CountingEncoder(DescriptorEncoder):
    """The descriptor, which counts what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def encode(self, prepared: Sequence[Prepared]) -> FloatArray:
        self.given += len(prepared)
        return super().encode(prepared)


def draw_corpora(place: Path) -> None:
    """Draw `before` and `after`: in between a label is renamed, pictures come, go and move."""
    for number, label in enumerate(KNOWN[:4]):
        (place / "before" / label).mkdir(parents=True)
        for one in range(4):
            picture = draw(label, np.random.default_rng((number, one)), 32)
            picture.save(place / "before" / label / f"{one}.png")
    shutil.copytree(place / "before", place / "after")
    after = place / "after"
    (after / KNOWN[0]).rename(after / "renamed")
    (after / KNOWN[1] / "0.png").unlink()
    (after / KNOWN[2] / "1.png").rename(after / KNOWN[3] / "moved.png")
    (after / KNOWN[3] / "bad.png").write_bytes(b"\x89PNG nonsense")
    for one in range(5):
        draw(KNOWN[5], np.random.default_rng((9, one)), 32).save(after / KNOWN[2] / f"new{one}.png")
    (place / "extra").mkdir()
    for one in range(2):
        draw(KNOWN[6], np.random.default_rng((8, one)), 32).save(place / "extra" / f"{one}.png")


def _config(index: Path) -> PipelineConfig:
    config = PipelineConfig.offline()
    config.retrieval.index_path = index
    config.images.threads = 1
    config.encoder.batch_size = BATCH
    return config


def build(place: Path, index: Path, told: Told) -> int:
    """Build from `before`; the number of pictures that were encoded."""
    return _synced(place / "before", index, told)


def sync(place: Path, index: Path, told: Told) -> int:
    """Bring an index of `before` to `after`."""
    return _synced(place / "after", index, told)


def _synced(corpus: Path, index: Path, told: Told) -> int:
    encoder = CountingEncoder()
    with Store(index, create=True, wait=5) as store:
        Sync(store, scan_corpus(corpus), encoder.fingerprint, LazyEncoder(lambda: encoder), lambda: encoder.space,
             _config(index), BATCH, lambda progress: told(progress.done - progress.skipped)).run()  # fmt: skip
        store.contents()
    return encoder.given


def edit(place: Path, index: Path, told: Told) -> int:
    """Add two pictures, correct a label and remove an example; told after each."""
    encoder = CountingEncoder()
    editor = IndexEditor(index, _config(index), encoder, wait=5)
    editor.add(sorted((place / "extra").iterdir()), "extra")
    told(2)
    editor.relabel([f"{KNOWN[1]}/1.png"], KNOWN[2])
    told(3)
    editor.remove([f"{KNOWN[3]}/3.png"])
    told(4)
    return encoder.given


def boast(place: Path, index: Path, told: Told) -> int:
    """A build that tells of a batch before it is committed: the harness must find that out."""
    return _synced(place / "before", index, lambda count: told(count + BATCH))


JOBS: dict[str, Callable[[Path, Path, Told], int]] = {"build": build, "sync": sync, "edit": edit, "boast": boast}


def contents_encoded(index: Path) -> set[str]:
    """What has a vector in the index."""
    if not (index / "index.sqlite").exists():
        return set()
    try:
        with Store(index, wait=5) as store:
            return store.encoded(DescriptorEncoder().fingerprint.space_id)
    except LmmClassifierError:
        return set()


def state(index: Path) -> list[tuple[str, str, str]]:
    """Ids, labels and contents, with the matrix checked."""
    opened = ExactIndex.open(index)
    assert np.isfinite(opened.gallery.units).all()
    return list(zip(opened.contents.paths, opened.contents.labels, opened.hashes))


def versions_of(job: str, place: Path, start: Path, folder: Path) -> list[list[tuple[str, str, str]]]:
    """All states that a reader may see while `job` runs undisturbed: before, in between, after."""
    seen = [state(start)] if start.exists() else []
    index = folder / "undisturbed"
    if start.exists():
        shutil.copytree(start, index)

    def told(_: int) -> None:
        if job == "edit":
            seen.append(state(index))

    JOBS[job](place, index, told)
    seen.append(state(index))
    shutil.rmtree(index)
    return seen


def damage(index: Path) -> str | None:
    """What the doctor calls damaged, None if nothing."""
    found = [one.what for one in examine(index) if one.severity == "damage"]
    return "; ".join(found) or None


def tell(pipe: int) -> Told:
    """Writes the number of committed pictures into a pipe, which no fault strikes."""
    return lambda count: os.write(pipe, bytes([count])) and None
