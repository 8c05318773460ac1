"""Check the chunks of a table, and delete those that no run needs any more."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.errors import IndexFileError, OutputError
from lmm_classifier.distributed.chunk_folder import ChunkFolder, StoredChunk
from lmm_classifier.distributed.chunk_rows import from_table, made_of, vectors_of
from lmm_classifier.distributed.chunks import chunk_name
from lmm_classifier.distributed.runs import read_run
from lmm_classifier.index.backends.lance_table.layout import ARRIVALS, part

DAY = 86_400.0  # seconds; a younger file may be of a run that is not over


@dataclass(frozen=True, slots=True)
class ChunkProblem:
    """A chunk that cannot be right, by the name of its file, with the reason."""

    stem: str
    reason: str


def verify_chunks(place: str) -> Iterator[StoredChunk | ChunkProblem]:
    """Yield each chunk at a folder or a URL, and for one that is damaged the problem.

    The name of a chunk must be the digest of its files, each must have one row, and vectors must have norm 1. Each
    page of its file has a checksum.

    Raises:
        IndexFileError: no table is there.

    Example:
        >>> from lmm_classifier.distributed.maintenance import verify_chunks
        >>> list(verify_chunks("no-table-here"))
        Traceback (most recent call last):
            ...
        lmm_classifier.core.errors.IndexFileError: There is no table at no-table-here. Expected ...
    """
    folder = _table_folder(place)
    for chunk, _ in sorted(folder.entries(), key=lambda pair: pair[0].stem):
        problem = _problem(folder, chunk)
        yield chunk if problem is None else ChunkProblem(chunk.stem, problem)


def delete_unneeded(place: str, seconds: float = DAY, now: Callable[[], float] = time.time) -> dict[str, int]:
    """Delete what no run needs, if it is older than `seconds`; return the number of files and of bytes.

    Needed are the chunks of the latest run over each dataset. A table has its rows in files of its own, so it does not
    change.

    Args:
        place: a folder or a URL with chunks.
        seconds: the age from which a file may be deleted. A run that is not over has younger ones.
        now: the time.

    Raises:
        IndexFileError: no table is there.
    """
    folder = _table_folder(place)
    runs = defaultdict[str, list[str]](list)
    own = list(folder.own_files())
    for kind, entry in own:
        if kind == "runs":
            runs[entry.name.rpartition("/")[2].partition("-")[0]].append(entry.name)
    latest = {max(names) for names in runs.values()}
    needed = {chunk.name for name in latest for chunk in read_run(folder, name).chunks}
    best = folder.stored()
    unneeded = list(folder.unfinished())
    for kind, entry in own:
        stem = entry.name.rpartition("/")[2].removesuffix(".parquet")
        name = stem.partition("~")[0]
        is_needed = entry.name in latest or (
            name in needed and (kind == "listing" or (kind == "chunks" and name in best and best[name].stem == stem))
        )
        if not is_needed:
            unneeded.append(entry)
    old = [entry for entry in unneeded if now() - entry.time > seconds]
    for entry in old:
        folder.files.delete(entry.name)
    return {"files": len(old), "bytes": sum(entry.size for entry in old)}


def _table_folder(place: str) -> ChunkFolder:
    """Return the chunks of a table; refuse any other folder, whose files are not those of this package."""
    if part(place, ARRIVALS).open_if_there() is None:
        raise IndexFileError(f"There is no table at {place}. Expected a folder or a URL to which one was built.")
    return ChunkFolder(place)


def _problem(folder: ChunkFolder, chunk: StoredChunk) -> str | None:
    """Return what is wrong with a chunk, None where nothing is."""
    try:
        table = folder.table(chunk)
        rows = from_table(table, chunk.stem)
    except OutputError as error:
        return str(error)
    except FileNotFoundError:
        return None  # deleted meanwhile
    try:
        listing = folder.listing(chunk.name)
        source = listing.source
        if len(listing.files) != len(rows):
            return f"it has {len(rows)} rows for {len(listing.files)} files"
    except FileNotFoundError:
        source = ""
    name = chunk_name([row.file for row in rows], source, made_of(table))
    if name != chunk.name:
        return "its name is not the digest of its files"
    is_good = np.array([row.is_good for row in rows], bool)
    for place in range(len(next((row.vectors for row in rows if row.is_good), ()))):
        norms = np.linalg.norm(vectors_of(table, place)[is_good], axis=1)
        if not (np.abs(norms - 1) < 0.01).all():  # false for NaN too
            return "a vector is not finite, or its norm is not 1"
    return None
