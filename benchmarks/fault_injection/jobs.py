"""The jobs that are interrupted: build, sync, edits and repair of a small dataset, with the weight-free encoder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.data.image_folder import scan_image_folder
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import Edit
from lmm_classifier.index.build.sync import Sync
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.stored_rows import opened_rows
from lmm_classifier.index.storage.records import BY_HAND
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import Index

BATCH = 3
Report = Callable[[int], None]  # called with the number of committed images; a bad image is never committed
State = list[tuple[str, str, str]]  # id, label and content hash of each example


class CountingEncoder(DescriptorEncoder):
    """The descriptor, which counts the images that it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded = 0

    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:
        self.encoded += len(preprocessed)
        return super().encode(preprocessed)


def draw_datasets(folder: Path) -> None:
    """Draw `before` and `after`. Between them a label is renamed, and images are added, removed and moved."""
    for number, label in enumerate(KNOWN[:4]):
        (folder / "before" / label).mkdir(parents=True)
        for image in range(4):
            drawing = draw(label, np.random.default_rng((number, image)), 32)
            drawing.save(folder / "before" / label / f"{image}.png")
    shutil.copytree(folder / "before", folder / "after")
    after = folder / "after"
    (after / KNOWN[0]).rename(after / "renamed")
    (after / KNOWN[1] / "0.png").unlink()
    (after / KNOWN[2] / "1.png").rename(after / KNOWN[3] / "moved.png")
    (after / KNOWN[3] / "bad.png").write_bytes(b"\x89PNG nonsense")
    for image in range(5):
        draw(KNOWN[5], np.random.default_rng((9, image)), 32).save(after / KNOWN[2] / f"new{image}.png")
    (folder / "extra").mkdir()
    for image in range(2):
        draw(KNOWN[6], np.random.default_rng((8, image)), 32).save(folder / "extra" / f"{image}.png")


def ignore(count: int) -> None:
    """Report nothing."""


def _config(index: Path) -> PipelineConfig:
    config = PipelineConfig.offline()
    config.retrieval.index_path = index
    config.images.threads = 1
    config.encoder.batch_size = BATCH
    return config


def build(folder: Path, index: Path, report: Report = ignore) -> int:
    """Build from `before`, and return the number of images that were encoded."""
    return _sync(folder / "before", index, report)


def sync(folder: Path, index: Path, report: Report = ignore) -> int:
    """Bring an index of `before` to `after`, and return the number of images that were encoded."""
    return _sync(folder / "after", index, report)


def _sync(dataset: Path, index: Path, report: Report) -> int:
    encoder = CountingEncoder()
    with Store(index, create=True, wait=5) as store:
        Sync(
            store,
            scan_image_folder(dataset),
            [encoder.fingerprint],
            [LazyEncoder(lambda: encoder)],
            lambda: [encoder.transform_fitter],
            _config(index),
            BATCH,
            lambda progress: report(progress.done - progress.skipped),
        ).run()
        store.contents()
    return encoder.encoded


def edit(folder: Path, index: Path, report: Report = ignore) -> int:
    """Add two images, correct a label and remove an example, with a report after each edit."""
    encoder = CountingEncoder()
    editor = IndexEditor(index, _config(index), encoder, wait=5)
    editor.add(sorted((folder / "extra").iterdir()), "extra")
    report(2)
    editor.relabel([f"{KNOWN[1]}/1.png"], KNOWN[2])
    report(3)
    editor.remove([f"{KNOWN[3]}/3.png"])
    report(4)
    return encoder.encoded


def edit_and_undo(folder: Path, index: Path, report: Report = ignore) -> int:
    """Edit by hand, and undo each edit, with a report after each step.

    It can be resumed at any point: what was done is in the journal, under its note.
    """
    editor = IndexEditor(index, _config(index), encoder := CountingEncoder(), wait=5)
    steps: list[Callable[[str], object]] = [
        lambda note: editor.add(sorted((folder / "extra").iterdir()), "extra", note=note),
        lambda note: editor.rename_label(KNOWN[1], "other", note=note),
        lambda note: editor.dismiss(editor.findings_about("label", [f"{KNOWN[2]}/0.png"]), note=note),
        lambda note: editor.remove([*editor.examples_of("extra"), f"{KNOWN[3]}/3.png"], note=note),
        *[lambda note: editor.undo(note=note)] * 4,
    ]
    done = len([edit for edit in editor.edits() if edit.note])
    for number, step in enumerate(steps[done:], done):
        step(f"step {number}")
        report(number + 1)
    return encoder.encoded


def purge(folder: Path, index: Path, report: Report = ignore) -> int:  # noqa: ARG001 - all jobs have one signature
    """Forget all edits of an index. It encodes nothing."""
    IndexEditor(index, _config(index), wait=5).purge(datetime.now(UTC) + timedelta(days=1))
    return 0


def repair(folder: Path, index: Path, report: Report = ignore) -> int:  # noqa: ARG001 - all jobs have one signature
    """Let the doctor repair the index. It encodes nothing."""
    check_index(index, repair=True)
    return 0


def premature_build(folder: Path, index: Path, report: Report = ignore) -> int:
    """Build, but report a batch before it is committed. The harness must detect that."""
    return _sync(folder / "before", index, lambda count: report(count + BATCH))


JOBS: dict[str, Callable[[Path, Path, Report], int]] = {
    "build": build,
    "sync": sync,
    "edit": edit,
    "undo": edit_and_undo,
    "purge": purge,
    "repair": repair,
    "premature_build": premature_build,
}


STEPWISE = ("edit", "undo", "purge")  # they report edits, not images


def damage_database(start: Path, damaged: Path) -> None:
    """Copy the index `start`, and damage the copy so that SQLite cannot read it but every row can be copied.

    A label that was corrected by hand is only in the log of SQLite, as a killed program leaves it.
    """
    work = damaged.with_name("work")
    shutil.copytree(start, work)
    with closing(database.connect(work)) as reader:
        query = "SELECT rootpage FROM sqlite_master WHERE name LIKE 'sqlite_autoindex_vectors%'"
        page = reader.execute(query).fetchone()[0]
        size = reader.execute("PRAGMA page_size").fetchone()[0]
        with (work / database.FILE).open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xa5" * size)
        with Store(work) as store:
            record, manifest = store.records()[0], store.manifest()
            assert manifest is not None
            store.commit(Change([replace(record, label=KNOWN[3], provenance=BY_HAND)]), manifest)
        shutil.copytree(work, damaged)  # the open reader leaves the log in place
    shutil.rmtree(work)


def encoded_contents(index: Path) -> set[str]:
    """Return the content hashes that have a vector in the index."""
    if not (index / "index.sqlite").exists():
        return set()
    try:
        with Store(index, wait=5) as store:
            return store.encoded_hashes(DescriptorEncoder().fingerprint.space_id)
    except LmmClassifierError:
        return set()


def state_of(index: Path) -> State:
    """Return ids, labels and contents, after a check of the matrix."""
    opened = Index.open(index)
    assert np.isfinite(opened.gallery.embeddings).all()
    return list(zip(opened.contents.paths, opened.contents.labels, opened.hashes))


def versions_of(job: str, folder: Path, start: Path) -> list[State]:
    """Return all states that a reader may see while `job` runs undisturbed: before, in between, after."""
    states = [state_of(start)] if start.exists() and job != "repair" else []
    index = folder / "undisturbed"
    if start.exists():
        shutil.copytree(start, index)

    def report(_: int) -> None:
        if job in STEPWISE:
            states.append(state_of(index))

    JOBS[job](folder, index, report)
    states.append(state_of(index))
    shutil.rmtree(index)
    return states


def half_done(index: Path, reported: int) -> str | None:
    """Return what is wrong after `edit_and_undo` was interrupted: an edit that is lost, half done or without images."""
    with opened_rows(index) as rows:
        edits = [Edit.of(*edit) for edit in rows.edits(100)]
        images = {path.removeprefix(ADDED) for edit in edits for path in edit.changes.added if path.startswith(ADDED)}
        examples = {record.path.removeprefix(ADDED) for record in rows.records() if record.path.startswith(ADDED)}
    if len([edit for edit in edits if edit.note]) < reported:
        return "an edit that was reported is not in the journal"
    if missing := examples - {file.name for file in (index / "added").glob("*")}:
        return f"examples without an image: {missing}"
    if images - {file.name for folder in ("added", "trash") for file in (index / folder).glob("*")}:
        return "an image of an edit in the journal is neither in added/ nor in trash/"
    check_index(index, repair=True)
    if any((index / "set-aside").glob("*")) and images & {file.name for file in (index / "set-aside").glob("*")}:
        return "the repair moved an image of an edit out of the way"
    return damage(index)


def damage(index: Path) -> str | None:
    """Return what the doctor calls damaged, None if nothing."""
    problems = [finding.what for finding in check_index(index) if finding.severity == "damage"]
    return "; ".join(problems) or None


def report_to_pipe(pipe: int) -> Report:
    """Return a report that writes the number of committed images into a pipe, which no fault affects."""

    def report(count: int) -> None:
        os.write(pipe, bytes([count]))

    return report
