"""Build an index from a folder of labeled images: scan, decode, encode, fit the transform, write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier import __version__
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import ConfigError, DatasetError, IndexFileError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.index_location import index_location
from lmm_classifier.core.progress import Progress, ProgressCallback, ProgressOption, Skipped
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.core.protocols import Encoder, Transform
from lmm_classifier.data.dataset import Dataset, Files
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.embeddings.opening import open_encoders
from lmm_classifier.index.build.folder_scan import scan_dataset
from lmm_classifier.index.build.replacement import require_replaceable_archive, require_same_dataset
from lmm_classifier.index.build.reports import BuildReport
from lmm_classifier.index.build.sync import Sync, make_report, nothing_indexed
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import has_npz_name, is_table, write_index
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.settings.kept import kept_settings
from lmm_classifier.index.settings.remembered import config_of_index
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.index.storage.arrays import VectorSpool
from lmm_classifier.index.storage.editing.edits import NewEdit
from lmm_classifier.index.storage.store import Store


def build_index_from_directory(
    image_root: DatasetSpec | Path | str,
    output_path: Path | str,
    batch_size: int = 64,
    config: PipelineConfig | None = None,
    progress: ProgressOption | None = None,
    encoder: Encoder | Sequence[Encoder] | None = None,
    replace: bool = False,
) -> BuildReport:
    """Index the images `image_root/<label>/**`, or those of any other dataset.

    Bad images are skipped and listed in the report. Memory grows only with the list of files.

    Args:
        image_root: folder with one folder of images per label, or any other dataset: an archive, a table, a URL. A
            `DatasetSpec` says in which folder or column the labels are.
        output_path: index to write. A name that ends in `.npz` gives one file, which appears when it is complete. Any
            other name gives a durable index in a folder. There, each batch is committed: an interrupted build resumes
            when it is run again, and an existing index is updated. No image is encoded twice.
        batch_size: images per commit.
        config: names the encoders, limits images and chooses the number type of stored vectors. None: what an
            existing index remembers, else SigLIP.
        progress: True shows it; a function is called after each batch, and may raise `Cancelled` to stop. Committed
            images stay in a durable index.
        encoder: an encoder that is loaded already, or several; None opens the configured ones. An existing index keeps
            its vectors of these encoders, gets those that are missing, and loses those of others.
        replace: let an index that was built from another folder become one of `image_root`, and let most images of an
            index disappear. Images that were added by hand stay.

    Raises:
        ConfigError: if `batch_size` is less than 1.
        DatasetError: if there is no image to index.
        IndexFileError: if the index cannot be written.
        ReplacementError: if the index was built from another folder, or if most of its images would be removed.

    Example:
        >>> from lmm_classifier import PipelineConfig, build_index_from_directory
        >>> report = build_index_from_directory("images", "built-index", config=PipelineConfig.offline())
        >>> sorted(report.indexed)
        ['gingham', 'herringbone', 'polka_dots', 'stripes']
        >>> again = build_index_from_directory("images", "built-index", config=PipelineConfig.offline())
        >>> again.changes.encoded, again.total == report.total
        (0, True)
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}. It must be at least 1.")
    started = time.monotonic()
    output = _own_output(output_path)
    config = config or config_of_index(output)
    dataset = scan_dataset(image_root, config)
    scanned = time.monotonic()
    encoders = open_encoders(config.encoders, encoder)
    loaded = time.monotonic()
    settings = kept_settings(config) if encoder is None else {}
    with displayed(progress) as show:
        build = Build(output, dataset, encoders, config, batch_size, show, replace, settings)
        report, stages = build.npz() if has_npz_name(build.output) else build.durable()
    stages = {"scan": scanned - started, "load encoder": loaded - scanned, **stages}
    return replaced(report, seconds=time.monotonic() - started, stages=stages)


def _own_output(output_path: Path | str) -> Path:
    output = index_location(output_path)
    if is_table(output):
        raise IndexFileError(
            f"{output} is the place of a table. Workers build one: `lmm-classifier build --engine ray`, or `--engine "
            "processes` on this machine. Of an index that is there, `lmm-classifier export --to lance` makes one."
        )
    return Path(output)


@dataclass(frozen=True)
class Build:
    """One build: dataset, encoders, settings and output. Its methods return the seconds by stage too."""

    output: Path
    dataset: Dataset
    encoders: Sequence[Encoder]
    config: PipelineConfig
    batch_size: int
    progress: ProgressCallback | None = None
    replace: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)  # what the index remembers

    def durable(self) -> tuple[BuildReport, dict[str, float]]:
        """Write a durable index, or update an existing one."""
        started = time.monotonic()
        with Store(self.output, create=True) as store, _discarded_if_empty(store):
            if not self.replace:
                require_same_dataset(self.output, store.image_root(), self.dataset.source)
            report = Sync(
                store=store,
                dataset=self.dataset,
                fingerprints=self._fingerprints,
                encoders=[LazyEncoder(partial(_same, encoder)) for encoder in self.encoders],
                transform_fitters=lambda: [encoder.transform_fitter for encoder in self.encoders],
                config=self.config,
                batch_size=self.batch_size,
                progress=self.progress,
                replace=self.replace,
                edit=NewEdit("build"),
                settings=self.settings,
            ).run()
            encoded = time.monotonic()
            report = replaced(report, stale=stale_parts(store.contents()))  # this makes the derived files too
        return report, {"decode, encode and fit": encoded - started, "write": time.monotonic() - encoded}

    def npz(self) -> tuple[BuildReport, dict[str, float]]:
        """Write a `.npz` file; vectors wait in a temporary file until it is written."""
        started = time.monotonic()
        with _spools(self.output, [fingerprint.dim for fingerprint in self._fingerprints]) as spools:
            examples, hashes, skipped, milliseconds = self._encode(spools)
            encoded = time.monotonic()
            if not examples:
                raise nothing_indexed(self.dataset, skipped)
            if not self.replace:
                require_replaceable_archive(self.output, self.dataset.source, hashes)
            order = sorted(range(len(hashes)), key=hashes.__getitem__)  # the transform must not depend on names
            transforms = [
                encoder.transform_fitter.fit(partial(spool.in_order, order))
                for encoder, spool in zip(self.encoders, spools)
            ]
            fitted = time.monotonic()
            manifest = self._manifest(transforms, len(examples))
            contents = IndexContents(
                manifest=manifest,
                labels=[example.label for example in examples],
                paths=[example.path for example in examples],
                hashes=hashes,
                vectors=tuple(
                    EncoderVectors(transform.to_arrays(), spool.blocks) for transform, spool in zip(transforms, spools)
                ),
                dtype=self.config.retrieval.stored_dtype,
                milliseconds=dict(zip(manifest.space_ids, milliseconds)),
            )
            write_index(self.output, contents)
        report = make_report(self.dataset, str(self.output), self._fingerprints, examples, hashes, skipped)
        ended = time.monotonic()
        return report, {
            "decode and encode": encoded - started,
            "fit transform": fitted - encoded,
            "write": ended - fitted,
        }

    def _manifest(self, transforms: Sequence[Transform], count: int) -> Manifest:
        return Manifest(
            encoders=tuple(
                EncoderEntry(fingerprint, transform.name)
                for fingerprint, transform in zip(self._fingerprints, transforms, strict=True)
            ),
            count=count,
            image_root=self.dataset.source,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            program=__version__,
            settings=self.settings,
        )

    @property
    def _fingerprints(self) -> list[Fingerprint]:
        return [encoder.fingerprint for encoder in self.encoders]

    def _encode(self, spools: Sequence[VectorSpool]) -> tuple[list[Example], list[str], list[Skipped], list[float]]:
        """Write vectors to the spools.

        Return their examples and content hashes, the images without a vector, and the time of each encoder per image.
        """
        dataset = self.dataset
        files = Files(dataset.root, dataset.examples)
        examples: list[Example] = []
        hashes: list[str] = []
        skipped: list[Skipped] = []
        lazy = [LazyEncoder(partial(_same, encoder)) for encoder in self.encoders]
        seconds = np.zeros(len(lazy))
        for batch in encode_files(files, Encoding(lazy, self.config.images, self.batch_size)):
            for number, new in enumerate(batch.new):
                if len(new.vectors):
                    spools[number].append(new.vectors)
                seconds[number] += new.seconds
            for file in batch.encoded:
                examples.append(dataset.examples[file.position])
                hashes.append(file.content_hash)
            skipped += [Skipped(dataset.examples[file.position].path, file.reason, file.kind) for file in batch.failed]
            if self.progress is not None:
                self.progress(Progress("indexing", len(examples) + len(skipped), len(files), len(skipped)))
        return examples, hashes, skipped, (1000 * seconds / max(len(examples), 1)).tolist()


def _same(encoder: Encoder) -> Encoder:
    return encoder


@contextmanager
def _discarded_if_empty(store: Store) -> Iterator[None]:
    """Remove a new index if no image could be indexed, so that a wrong dataset folder leaves no files."""
    try:
        yield
    except DatasetError:
        if store.state is None:
            store.discard()
        raise


@contextmanager
def _spools(output: Path, dims: Sequence[int]) -> Iterator[list[VectorSpool]]:
    """Open temporary files for vectors next to the output, because that disk needs room for them anyway."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".lmm-classifier-build-", dir=output.parent)
    except OSError as error:
        raise IndexFileError(f"Cannot write to {output.parent}: {error}. Choose another output.") from error
    with folder as name:
        spools = [VectorSpool(Path(name) / f"vectors.{number}", dim) for number, dim in enumerate(dims)]
        try:
            yield spools
        except OSError as error:
            raise IndexFileError(f"Cannot write the index {output}: {error}. Nothing was changed there.") from error
        finally:
            for spool in spools:
                spool.close()
