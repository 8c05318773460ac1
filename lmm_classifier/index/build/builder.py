"""Build an index from a folder of labeled images: scan, decode, encode, fit the transform, write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replaced
from datetime import UTC, datetime
from pathlib import Path

from lmm_classifier import __version__
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import ConfigError, DatasetError, IndexFileError
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.progress import Progress, ProgressCallback, Skipped
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.image_folder import Files, LabeledFolder
from lmm_classifier.embeddings.encode_files import LazyEncoder, encode_files
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.index.build.folder_scan import scan_dataset
from lmm_classifier.index.build.replacement import require_replaceable_archive, require_same_dataset
from lmm_classifier.index.build.reports import BuildReport
from lmm_classifier.index.build.sync import Sync, make_report, nothing_indexed
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.formats import has_npz_name, write_index
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.arrays import VectorSpool
from lmm_classifier.index.storage.store import Store


def build_index_from_directory(
    image_root: Path | str,
    output_path: Path | str,
    batch_size: int = 64,
    config: PipelineConfig | None = None,
    progress: ProgressCallback | None = None,
    encoder: Encoder | None = None,
    replace: bool = False,
) -> BuildReport:
    """Index the images `image_root/<label>/**`.

    Bad images are skipped and listed in the report. Memory grows only with the list of files.

    Args:
        image_root: folder with one folder of images per label.
        output_path: index to write. A name that ends in `.npz` gives one file, which appears when it is complete. Any
            other name gives a durable index in a folder. There, each batch is committed: an interrupted build resumes
            when it is run again, and an existing index is updated. No image is encoded twice.
        batch_size: images per commit.
        config: names the encoder, limits images and chooses the number type of stored vectors. None: SigLIP.
        progress: called after each batch; raise `Cancelled` in it to stop. Committed images stay in a durable index.
        encoder: an encoder that is loaded already; None opens the configured one.
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
    config = config or PipelineConfig()
    dataset = scan_dataset(expand_home(image_root), config)
    scanned = time.monotonic()
    encoder = encoder or open_encoder(config.encoder)
    loaded = time.monotonic()
    build = Build(expand_home(output_path), dataset, encoder, config, batch_size, progress, replace)
    report, stages = build.npz() if has_npz_name(build.output) else build.durable()
    stages = {"scan": scanned - started, "load encoder": loaded - scanned, **stages}
    return replaced(report, seconds=time.monotonic() - started, stages=stages)


@dataclass(frozen=True)
class Build:
    """One build: the dataset, the encoder, the settings and the output. Its methods return the seconds by stage too."""

    output: Path
    dataset: LabeledFolder
    encoder: Encoder
    config: PipelineConfig
    batch_size: int
    progress: ProgressCallback | None = None
    replace: bool = False

    def durable(self) -> tuple[BuildReport, dict[str, float]]:
        """Write a durable index, or update an existing one."""
        started = time.monotonic()
        with Store(self.output, create=True) as store, _discarded_if_empty(store):
            if not self.replace:
                require_same_dataset(self.output, store.image_root(), self.dataset.root)
            report = Sync(
                store=store,
                dataset=self.dataset,
                fingerprint=self.encoder.fingerprint,
                encoder=LazyEncoder(lambda: self.encoder),
                transform_fitter=lambda: self.encoder.transform_fitter,
                config=self.config,
                batch_size=self.batch_size,
                progress=self.progress,
                replace=self.replace,
            ).run()
            encoded = time.monotonic()
            store.contents()  # makes the derived files
        return report, {"decode, encode and fit": encoded - started, "write": time.monotonic() - encoded}

    def npz(self) -> tuple[BuildReport, dict[str, float]]:
        """Write a `.npz` file; vectors wait in a temporary file until it is written."""
        started = time.monotonic()
        fingerprint = self.encoder.fingerprint
        with _spool(self.output, fingerprint.dim) as spool:
            examples, hashes, skipped = self._encode(spool)
            encoded = time.monotonic()
            if not examples:
                raise nothing_indexed(self.dataset, skipped)
            if not self.replace:
                require_replaceable_archive(self.output, self.dataset.root, hashes)
            order = sorted(range(len(hashes)), key=hashes.__getitem__)  # the transform must not depend on names
            transform = self.encoder.transform_fitter.fit(lambda: spool.in_order(order))
            fitted = time.monotonic()
            manifest = Manifest(
                fingerprint=fingerprint,
                transform=transform.name,
                count=len(examples),
                image_root=str(self.dataset.root.absolute()),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                program=__version__,
            )
            contents = IndexContents(
                manifest=manifest,
                labels=[example.label for example in examples],
                paths=[example.path for example in examples],
                hashes=hashes,
                transform_arrays=transform.to_arrays(),
                vector_blocks=spool.blocks,
                dtype=self.config.retrieval.stored_dtype,
            )
            write_index(self.output, contents)
        report = make_report(self.dataset, str(self.output), fingerprint, examples, hashes, skipped)
        ended = time.monotonic()
        return report, {
            "decode and encode": encoded - started,
            "fit transform": fitted - encoded,
            "write": ended - fitted,
        }

    def _encode(self, spool: VectorSpool) -> tuple[list[Example], list[str], list[Skipped]]:
        """Write vectors to the spool; return their examples and content hashes, and the images without a vector."""
        dataset = self.dataset
        files = Files(dataset.root, dataset.examples)
        examples: list[Example] = []
        hashes: list[str] = []
        skipped: list[Skipped] = []
        for batch in encode_files(files, LazyEncoder(lambda: self.encoder), self.config.images, self.batch_size):
            spool.append(batch.vectors)
            for file in batch.encoded:
                examples.append(dataset.examples[file.position])
                hashes.append(file.content_hash)
            skipped += [Skipped(dataset.examples[file.position].path, file.reason, file.kind) for file in batch.failed]
            if self.progress is not None:
                self.progress(Progress("indexing", len(examples) + len(skipped), len(files), len(skipped)))
        return examples, hashes, skipped


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
def _spool(output: Path, dim: int) -> Iterator[VectorSpool]:
    """Open a temporary file for vectors next to the output, because that disk needs room for them anyway."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".lmm-classifier-build-", dir=output.parent)
    except OSError as error:
        raise IndexFileError(f"Cannot write to {output.parent}: {error}. Choose another output.") from error
    with folder as name:
        spool = VectorSpool(Path(name) / "vectors", dim)
        try:
            yield spool
        except OSError as error:
            raise IndexFileError(f"Cannot write the index {output}: {error}. Nothing was changed there.") from error
        finally:
            spool.close()
