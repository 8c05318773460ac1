"""The two formats of an index on disk: a durable index in a folder, and one `.npz` file to copy elsewhere.

Only this module tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.embeddings.whitening import transform_from_arrays
from lmm_classifier.index.contents import Array, IndexContents
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import NewEdit
from lmm_classifier.index.storage.editing.stored_rows import opened_rows
from lmm_classifier.index.storage.npz import read_archive, read_archive_manifest, write_archive
from lmm_classifier.index.storage.reader import read_store
from lmm_classifier.index.storage.records import UNKNOWN_SIZE, Record, provenance
from lmm_classifier.index.storage.store import Store


def is_durable(path: Path) -> bool:
    """Return whether the existing index at `path` is a durable one, which can be edited."""
    return path.is_dir()


def has_npz_name(path: Path) -> bool:
    """Return whether an index that is written to `path` becomes one `.npz` file."""
    return path.suffix == ".npz"


def read_index(path: Path) -> IndexContents:
    """Read everything but the vectors, which stay on disk; raise IndexFileError unless the index is sound."""
    try:
        if not path.exists():
            raise IndexFileError(f"There is no index at {path}. Build one with `lmm-classifier build`.")
        return read_store(path) if is_durable(path) else read_archive(path)
    except OSError as error:
        raise IndexFileError(f"{path} is not a readable index ({error}).") from None


def read_manifest(path: Path) -> Manifest | None:
    """Read the manifest alone, None where there is no finished index; raise IndexFileError where it is damaged."""
    if not path.exists():
        return None
    if not is_durable(path):
        return read_archive_manifest(path)
    with opened_rows(path) as rows:
        return rows.manifest()


def write_index(path: Path, contents: IndexContents) -> None:
    """Write `contents` as a new index: a `.npz` file if `path` has such a name, else a durable index in a new folder.

    An existing `.npz` file is replaced. An existing durable index is never overwritten: IndexFileError is raised.
    """
    if has_npz_name(path):
        write_archive(path, contents)
        return
    with Store(path, create=True) as store:
        if store.state is not None:
            raise _taken(path)
        _fill(store, contents)


def require_new(path: Path) -> None:
    """Raise IndexFileError if there is a durable index at `path` already, before anything costly is done."""
    if not is_durable(path):
        return
    try:
        read_store(path)
    except IndexFileError:  # none, or one that was never finished; writing decides
        return
    raise _taken(path)


def _taken(path: Path) -> IndexFileError:
    return IndexFileError(f"{path} holds an index already, and nothing was changed. Choose another output.")


def _fill(store: Store, contents: IndexContents) -> None:
    manifest = contents.manifest
    if len(set(contents.paths)) < len(contents.paths):
        raise IndexFileError("Two examples of the index have the same id, so it is not a sound index.")
    store.begin(manifest.image_root, np.dtype(contents.dtype).name)
    for space, vectors in zip(manifest.space_ids, contents.vectors, strict=True):
        start = 0
        for block in vectors.blocks():
            store.put_vectors({space: zip(contents.hashes[start:], block)})
            start += len(block)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rows = zip(contents.paths, contents.labels, contents.hashes)
    records = [
        Record(path, label, content_hash, UNKNOWN_SIZE, 0, now, provenance(path, label))
        for path, label, content_hash in rows
    ]
    transforms = [
        transform_from_arrays(entry.transform, vectors.transform_arrays)
        for entry, vectors in zip(manifest.encoders, contents.vectors)
    ]
    change = Change(records, transforms=transforms, dismissed=contents.dismissals)
    store.commit(change, manifest, NewEdit("import"))
    store.put_vectors({}, times={space: (time / 1000, 1) for space, time in contents.milliseconds.items()})
    if contents.groups:
        store.set_groups(contents.groups)
    if contents.calibration:
        store.set_calibration(contents.calibration)


def write_calibration(
    path: Path, contents: IndexContents, calibration: Mapping[str, Array], former: Mapping[str, Array] | None = None
) -> bool:
    """Store a calibration in the index at `path`; `contents` were read from it.

    With `former`, only in the place of that one: it returns False, and stores nothing, where a durable index has
    another one meanwhile.
    """
    if is_durable(path):
        with Store(path) as store:
            return store.set_calibration(calibration, former)
    write_archive(path, replace(contents, calibration=calibration))
    return True
