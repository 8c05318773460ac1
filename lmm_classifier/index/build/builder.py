"""Builds an index from a folder of labelled pictures: scan, decode, encode, fit the space, write."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lmm_classifier import __version__
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import ConfigError, CorpusError, IndexFileError
from lmm_classifier.core.progress import Progress, ProgressCallback, Skipped
from lmm_classifier.core.protocols import Encoder, Space
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.image_folder import Corpus, Files, same_bytes_warnings, scan_corpus
from lmm_classifier.embeddings.encode_files import LazyEncoder, encode_files
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.index.build.reports import BuildReport
from lmm_classifier.index.build.sync import Sync
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.formats import write_index
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
) -> BuildReport:
    """Index the pictures `image_root/<label>/**` and write the index to `output_path`.

    A `.npz` name gives one file, made whole or not at all. Another name gives a durable index in a folder: what is
    encoded is committed batch by batch, an interrupted build goes on where it stopped, and an index that is there
    already is brought up to date; nothing is encoded twice. Bad pictures are skipped and listed in the report. Memory
    does not grow with the corpus beyond the list of its files. An `encoder` that is already loaded can be passed in, to
    share it. Raises CorpusError when there is nothing to index.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    started = time.monotonic()
    config = config or PipelineConfig()
    output = Path(output_path)
    corpus = scan_corpus(Path(image_root))
    scanned = time.monotonic()
    encoder = encoder or open_encoder(config.encoder)
    loaded = time.monotonic()
    make = _build_archive if output.suffix == ".npz" else _build_store
    report, stages = make(output, corpus, encoder, config, batch_size, progress)
    stages = {"scan": scanned - started, "load encoder": loaded - scanned, **stages}
    return replace(report, seconds=time.monotonic() - started, stages=stages)


def _build_store(
    output: Path,
    corpus: Corpus,
    encoder: Encoder,
    config: PipelineConfig,
    batch_size: int,
    progress: ProgressCallback | None,
) -> tuple[BuildReport, dict[str, float]]:
    started = time.monotonic()
    with Store(output, create=True) as store, _nothing_left_of(store):
        report = Sync(
            store=store,
            corpus=corpus,
            fingerprint=encoder.fingerprint,
            encoder=LazyEncoder(lambda: encoder),
            recipe=lambda: encoder.space,
            config=config,
            batch_size=batch_size,
            progress=progress,
        ).run()
        encoded = time.monotonic()
        store.contents()  # makes the derived files
    return report, {"decode, encode and fit": encoded - started, "write": time.monotonic() - encoded}


@contextmanager
def _nothing_left_of(store: Store) -> Iterator[None]:
    """Remove a new index in which no picture came to be, so that a wrong folder leaves no trace."""
    try:
        yield
    except CorpusError:
        if store.state is None:
            store.discard()
        raise


def _build_archive(
    output: Path,
    corpus: Corpus,
    encoder: Encoder,
    config: PipelineConfig,
    batch_size: int,
    progress: ProgressCallback | None,
) -> tuple[BuildReport, dict[str, float]]:
    started = time.monotonic()
    with _spool(output, encoder.fingerprint.dim) as spool:
        examples, hashes, skipped = _encode(corpus, encoder, config.images, batch_size, spool, progress)
        encoded = time.monotonic()
        if not examples:
            raise CorpusError(_nothing(corpus, skipped))
        order = sorted(range(len(hashes)), key=hashes.__getitem__)  # names do not matter to a space
        space = encoder.space.fit(lambda: spool.in_order(order))
        fitted = time.monotonic()
        write_index(output, _contents(corpus, encoder, space, examples, hashes, spool, config))
    report = BuildReport(
        image_root=str(corpus.root),
        output_path=str(output),
        encoder=str(encoder.fingerprint),
        indexed=dict(sorted(Counter(example.label for example in examples).items())),
        skipped=tuple(sorted((*corpus.skipped, *skipped), key=lambda one: one.path)),
        warnings=(*corpus.warnings, *same_bytes_warnings(examples, hashes)),
    )
    ended = time.monotonic()
    return report, {"decode and encode": encoded - started, "fit space": fitted - encoded, "write": ended - fitted}


@contextmanager
def _spool(output: Path, dim: int) -> Iterator[VectorSpool]:
    """A file for vectors beside the output, on the disk that must have room for them anyway."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".lmm-classifier-build-", dir=output.parent)
    except OSError as error:
        raise IndexFileError(f"cannot write to {output.parent}: {error}; choose another output") from error
    with folder as name:
        spool = VectorSpool(Path(name) / "vectors", dim)
        try:
            yield spool
        except OSError as error:
            raise IndexFileError(f"cannot write the index {output}: {error}; nothing was changed there") from error
        finally:
            spool.close()


def _encode(
    corpus: Corpus,
    encoder: Encoder,
    images: ImagesConfig,
    batch_size: int,
    spool: VectorSpool,
    progress: ProgressCallback | None,
) -> tuple[list[Example], list[str], list[Skipped]]:
    """Good vectors go to the spool, what has none to the list of skipped."""
    files = Files(corpus.root, corpus.examples)
    examples: list[Example] = []
    hashes: list[str] = []
    skipped: list[Skipped] = []
    for batch in encode_files(files, LazyEncoder(lambda: encoder), images, batch_size):
        spool.append(batch.vectors)
        for place, content in batch.encoded:
            examples.append(corpus.examples[place])
            hashes.append(content)
        skipped += [Skipped(corpus.examples[one.place].path, one.reason, one.kind) for one in batch.refused]
        if progress is not None:
            progress(Progress("indexing", len(examples) + len(skipped), len(files), len(skipped)))
    return examples, hashes, skipped


def _contents(
    corpus: Corpus,
    encoder: Encoder,
    space: Space,
    examples: list[Example],
    hashes: list[str],
    spool: VectorSpool,
    config: PipelineConfig,
) -> Contents:
    return Contents(
        manifest=Manifest(
            fingerprint=encoder.fingerprint,
            space=space.name,
            count=len(examples),
            image_root=str(corpus.root.absolute()),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            program=__version__,
        ),
        labels=[example.label for example in examples],
        paths=[example.path for example in examples],
        hashes=hashes,
        space_state=space.state(),
        vector_blocks=spool.blocks,
        dtype=config.retrieval.stored_dtype,
    )


def _nothing(corpus: Corpus, skipped: list[Skipped]) -> str:
    reasons = "; ".join(f"{one.path}: {one.reason}" for one in skipped[:3])
    return f"none of the {len(corpus.examples)} pictures under {corpus.root} could be indexed: {reasons}"
