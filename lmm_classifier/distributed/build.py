"""Build a table from a dataset by many workers: list it, encode its chunks, commit them, finish the table.

Every step can be interrupted and run again. A chunk that is there is never encoded again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from lmm_classifier import __version__
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError, OutputError
from lmm_classifier.core.progress import Progress, ProgressCallback, ProgressOption
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.core.protocols import Encoder, Engine
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.distributed.chunk_folder import ChunkFolder, StoredChunk
from lmm_classifier.distributed.chunk_worker import ChunkOutcome, ChunkTask, ChunkWorkerBuilder
from lmm_classifier.distributed.chunks import MOST_FILES, list_chunks, made_with
from lmm_classifier.distributed.commit import commit_chunks, stored_chunk
from lmm_classifier.distributed.engines.local import FewHere
from lmm_classifier.distributed.listing import DatasetListing
from lmm_classifier.distributed.runs import FormerChunks, PlannedChunk, Run, latest_run, new_run_id, write_run
from lmm_classifier.distributed.statistics.table_statistics import store_statistics
from lmm_classifier.distributed.table_report import TableReport, require_same_source
from lmm_classifier.distributed.transforms import fit_transforms, transform_name
from lmm_classifier.embeddings.opening import close_encoders, open_encoders
from lmm_classifier.index.backends.lance_table.about import Extras
from lmm_classifier.index.backends.lance_table.table import LanceTable
from lmm_classifier.index.build.reports import BuildReport
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.settings.kept import kept_settings


def build_table(
    dataset: DatasetSpec | Path | str,
    output: str,
    config: PipelineConfig,
    engine: Engine,
    chunk_files: int = MOST_FILES,
    threads: int = 0,
    progress: ProgressOption | None = None,
) -> BuildReport:
    """Build the table at `output`, or bring it up to date with the dataset.

    Args:
        dataset: any dataset that an index can be built from.
        output: a folder, or a URL such as `s3://bucket/table`. The chunks are in it too.
        config: names the encoders and limits images.
        engine: runs the workers that encode.
        chunk_files: files of a chunk at most. Another number than before loses nothing: rows are taken over.
        threads: of each worker; 0: one per processor.
        progress: True shows it; a function is called with it, and may raise `Cancelled`.

    Raises:
        ConfigError: `chunk_files` is less than 1.
        DatasetError: there is no image to index.
        EngineError: the workers cannot be started, or end again and again.
        IndexMismatchError: the table has vectors of other encoders.
        ReplacementError: the table was built from another dataset.

    Example:
        >>> from lmm_classifier import PipelineConfig
        >>> from lmm_classifier.distributed.build import build_table
        >>> from lmm_classifier.distributed.engines.local import InProcess
        >>> report = build_table("images", "built-table", PipelineConfig.offline(), InProcess())
        >>> sorted(report.indexed), report.changes.encoded == report.total
        (['gingham', 'herringbone', 'polka_dots', 'stripes'], True)
        >>> build_table("images", "built-table", PipelineConfig.offline(), InProcess()).changes.encoded
        0
    """
    return TableBuild(DatasetSpec.of(dataset), output, config, engine, chunk_files, threads).run(progress)


@dataclass
class TableBuild:
    """One build. `state()` says at any time how much of it is there."""

    dataset: DatasetSpec
    output: str
    config: PipelineConfig
    engine: Engine
    chunk_files: int = MOST_FILES
    threads: int = 0
    planned: int = 0  # chunks
    finished: int = 0
    _run: str = ""
    _stages: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.chunk_files < 1:
            raise ConfigError(f"A chunk of {self.chunk_files} files was asked for. It must have at least 1.")

    def state(self) -> str:
        """Return how many chunks are there, for a person."""
        if not self.planned:
            return "No chunk was begun."
        return f"{self.finished} of {self.planned} chunks are there, and none of them will be encoded again."

    def run(self, progress: ProgressOption | None = None) -> BuildReport:
        """Do all steps; return the report."""
        started = time.monotonic()
        folder = ChunkFolder(self.output)
        listing = DatasetListing(self.dataset, self.config.images, self.config.unknown_label)
        encoders = open_encoders(self.config.encoders)
        fingerprints = [encoder.fingerprint for encoder in encoders]
        manifest = self._manifest(encoders, listing.source)
        if (table := LanceTable.open_if_there(self.output, manifest)) is not None:
            require_same_source(self.output, table.manifest.image_root, listing.source)
        engine = FewHere(self.engine)  # of the steps without encoders
        made = made_with([fingerprint.space_id for fingerprint in fingerprints], self.config.images)
        with displayed(progress) as show:
            with self._timed("list"):
                stored = folder.stored()
                former = FormerChunks(latest_run(folder, made, listing.source), stored)
                planned = self._plan(folder, listing, made, stored, show)
                table = table or LanceTable.create(self.output, manifest)  # not where there is no image
            with self._timed("decode and encode"):
                outcomes = self._encoded(planned, stored, former, show)
            stems = {outcome.chunk.stem: outcome.files for outcome in outcomes}
            with self._timed("commit"):
                row_bytes = 4 * sum(fingerprint.dim for fingerprint in fingerprints)
                commit_chunks(table, folder, stems, row_bytes, engine)
            with self._timed("fit and sort"):
                dtype = self.config.retrieval.stored_dtype
                transforms = fit_transforms(encoders, folder, list(map(stored_chunk, sorted(stems))), dtype)
                table.finish(stems.keys(), engine, Extras(transforms, dtype))
            with self._timed("statistics"):
                store_statistics(self.output, engine)
        close_encoders(encoders)
        folder.end(self._run)
        encoded = sum(outcome.encoded for outcome in outcomes)
        report = TableReport(self.output, listing, fingerprints, frozenset(stems)).report(encoded)
        return replace(report, seconds=time.monotonic() - started, stages=self._stages)

    def _manifest(self, encoders: Sequence[Encoder], source: str) -> Manifest:
        entries = [EncoderEntry(encoder.fingerprint, transform_name(encoder.transform_fitter)) for encoder in encoders]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Manifest(tuple(entries), 1, source, now, __version__, kept_settings(self.config))

    def _plan(
        self,
        folder: ChunkFolder,
        listing: DatasetListing,
        made: str,
        stored: Mapping[str, StoredChunk],
        show: ProgressCallback | None,
    ) -> list[PlannedChunk]:
        """List the dataset, and write the files of each chunk that is not there."""
        planned = list[PlannedChunk]()
        for chunk in list_chunks(listing.files(), listing.source, made, self.chunk_files):
            planned.append(PlannedChunk.of(chunk))
            if chunk.name not in stored or stored[chunk.name].tries:
                folder.put_listing(chunk)
            if show is not None:
                show(Progress("listing", listing.counts.total(), None, listing.skipped.failed))
        self._run, self.planned = new_run_id(made, listing.source), len(planned)
        write_run(folder, Run(self._run, tuple(planned)))
        return planned

    def _encoded(
        self,
        planned: Sequence[PlannedChunk],
        stored: Mapping[str, StoredChunk],
        former: FormerChunks,
        show: ProgressCallback | None,
    ) -> list[ChunkOutcome]:
        """Encode the chunks that are not there; return an outcome of each, those that were there too."""
        sizes = {chunk.name: chunk.files for chunk in planned}
        todo = [chunk for chunk in planned if chunk.name not in stored or stored[chunk.name].tries]
        lacking = {chunk.name for chunk in todo}
        there = [ChunkOutcome(stored[c.name], c.files, 0, 0) for c in planned if c.name not in lacking]
        done, failed = sum(outcome.files for outcome in there), 0
        self.finished = len(there)
        tasks = (
            ChunkTask(chunk.name, tuple(stored[f.name] for f in former.overlapping(chunk) if f.name in stored))
            for chunk in todo
        )
        builder = ChunkWorkerBuilder(self.output, self.config.model_dump(), self._run, self.threads)
        outcomes = dict[str, ChunkOutcome]()
        for outcome in self.engine.run(tasks, builder):
            name = outcome.chunk.name
            if outcome.files != sizes[name]:
                raise OutputError(f"Chunk {name} has {outcome.files} rows for {sizes[name]} files. Run again.")
            if name not in outcomes:
                done, failed, self.finished = done + outcome.files, failed + outcome.failed, self.finished + 1
            outcomes[name] = outcome
            if show is not None:
                show(Progress("indexing", done, sum(sizes.values()), failed))
        if missing := lacking - outcomes.keys():
            raise OutputError(f"{len(missing)} chunks were not made, such as {min(missing)}. Run the command again.")
        return [*there, *outcomes.values()]

    def _timed(self, stage: str) -> _Timer:
        return _Timer(self._stages, stage)


@dataclass
class _Timer:
    stages: dict[str, float]
    stage: str
    started: float = 0.0

    def __enter__(self) -> None:
        self.started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.stages[self.stage] = time.monotonic() - self.started
