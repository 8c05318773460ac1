"""The formats of an index: a durable index in a folder, one `.npz` file to copy elsewhere, and a table of Lance.

Only this module tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.core.paths import absolute
from lmm_classifier.embeddings.whitening import transform_from_arrays
from lmm_classifier.index.backends.lance_table.calibrations import put_calibration
from lmm_classifier.index.backends.lance_table.copying import require_no_table, write_table
from lmm_classifier.index.backends.lance_table.finishing import bytes_of, finished
from lmm_classifier.index.backends.lance_table.layout import ARRIVALS, ROWS, part
from lmm_classifier.index.backends.lance_table.local_copy import read_table
from lmm_classifier.index.contents import Array, IndexContents
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import NewEdit
from lmm_classifier.index.storage.editing.stored_rows import opened_rows
from lmm_classifier.index.storage.npz import read_archive, read_archive_manifest, write_archive
from lmm_classifier.index.storage.reader import read_store
from lmm_classifier.index.storage.records import UNKNOWN_SIZE, Record, provenance
from lmm_classifier.index.storage.store import Store


def is_durable(location: IndexLocation) -> bool:
    """Return whether the existing index at a location is a durable one, which can be edited."""
    return isinstance(location, Path) and not is_table(location) and location.is_dir()


def has_npz_name(location: IndexLocation) -> bool:
    """Return whether an index that is written to a location becomes one `.npz` file."""
    return isinstance(location, Path) and location.suffix == ".npz"


def is_table(location: IndexLocation) -> bool:
    """Return whether the index at a location is a table of Lance, or one that is written to it becomes a table."""
    if not isinstance(location, Path) or location.suffix == ".lance":
        return True
    return any(Path(part(str(location), name).url).is_dir() for name in (ROWS, ARRIVALS))


def has_durable_name(location: IndexLocation) -> bool:
    """Return whether an index that is written to a location becomes a durable one."""
    return not has_npz_name(location) and not is_table(location)


def editable_path(location: IndexLocation) -> Path:
    """Return the folder of a durable index; raise IndexFileError where an index of the other formats is or would be."""
    if is_table(location):
        raise IndexFileError(
            f"{location} is a table, which is read but not edited. Build it again from its dataset, or make a durable "
            "index of it with `lmm-classifier import` and edit that."
        )
    if has_npz_name(location):
        raise IndexFileError(
            f"{location} is a .npz file, which cannot be edited. Make a durable index of it with "
            "`lmm-classifier import`."
        )
    return Path(location)


def read_index(location: IndexLocation) -> IndexContents:
    """Read everything but the vectors, which stay on disk; raise IndexFileError unless the index is sound."""
    if is_table(location):
        return read_table(table_url(location))
    path = Path(location)
    try:
        if not path.exists():
            raise IndexFileError(f"There is no index at {path}. Build one with `lmm-classifier build`.")
        return read_store(path) if is_durable(path) else read_archive(path)
    except OSError as error:
        raise IndexFileError(f"{path} is not a readable index ({error}).") from None


def stored_bytes(location: IndexLocation) -> int:
    """Return the bytes of all files of an index; of a table those of its rows."""
    if is_table(location):
        found = finished(table_url(location))
        return 0 if found is None else bytes_of(found[0])
    path = Path(location)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files)


def read_manifest(location: IndexLocation) -> Manifest | None:
    """Read the manifest alone, None where there is no finished index; raise IndexFileError where it is damaged."""
    if is_table(location):
        found = finished(table_url(location))
        return None if found is None else found[1].manifest
    path = Path(location)
    if not path.exists():
        return None
    if not is_durable(path):
        return read_archive_manifest(path)
    with opened_rows(path) as rows:
        return rows.manifest()


def table_url(location: IndexLocation) -> str:
    """Return where a table is, as its library expects it; a path is made absolute, because it names the copy too."""
    return location if isinstance(location, str) else str(absolute(location))


def write_index(location: IndexLocation, contents: IndexContents) -> None:
    """Write `contents` as a new index, of the format that the name of the location tells.

    It is a `.npz` file, a table at a URL or in a folder that ends in `.lance`, or a durable index in a new folder. An
    existing `.npz` file is replaced. Another existing index is never overwritten: IndexFileError is raised.
    """
    if is_table(location):
        write_table(table_url(location), contents)
        return
    path = Path(location)
    if has_npz_name(path):
        write_archive(path, contents)
        return
    with Store(path, create=True) as store:
        if store.state is not None:
            raise _taken(path)
        _fill(store, contents)


def require_new(location: IndexLocation) -> None:
    """Raise IndexFileError if there is a durable index or a table already, before anything costly is done."""
    if is_table(location):
        require_no_table(table_url(location))
    if not is_durable(location):
        return
    path = Path(location)
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
    location: IndexLocation,
    contents: IndexContents,
    calibration: Mapping[str, Array],
    former: Mapping[str, Array] | None = None,
) -> bool:
    """Store a calibration in the index at a location; `contents` were read from it.

    With `former`, only in the place of that one: it returns False, and stores nothing, where a durable index or a table
    has another one meanwhile.
    """
    if is_table(location):
        return put_calibration(table_url(location), calibration, former)
    path = Path(location)
    if is_durable(path):
        with Store(path) as store:
            return store.set_calibration(calibration, former)
    write_archive(path, replace(contents, calibration=calibration))
    return True
