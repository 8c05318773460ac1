"""The two forms of an index on disk: a durable one in a folder, and one `.npz` file to take along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.embeddings.whitening import restore
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.storage.npz import read_archive, write_archive
from lmm_classifier.index.storage.reader import read_store
from lmm_classifier.index.storage.records import UNKNOWN_SIZE, Record, how
from lmm_classifier.index.storage.store import Change, Store


def read_index(path: Path) -> Contents:
    """Read everything but the vectors, which stay on disk; raises IndexFileError on anything but a sound index."""
    try:
        if not path.exists():
            raise IndexFileError(
                f"there is no index at {path}: make one with `lmm-classifier build CORPUS --output {path}`"
            )
        return read_store(path) if path.is_dir() else read_archive(path)
    except OSError as error:
        raise IndexFileError(f"{path} is not a readable index ({error})") from None


def write_index(path: Path, contents: Contents) -> None:
    """Write `contents` as a new index: a `.npz` file if `path` is named so, else a durable one in a new folder."""
    if path.suffix == ".npz":
        write_archive(path, contents)
        return
    with Store(path, create=True) as store:
        if store.state is not None:
            raise IndexFileError(f"{path} holds an index already: it is left as it is; choose another output")
        _fill(store, contents)


def _fill(store: Store, contents: Contents) -> None:
    encoder, start = contents.manifest.fingerprint.space_id, 0
    if len(set(contents.paths)) < len(contents.paths):
        raise IndexFileError("two examples of the index have the same id: it is not a sound one")
    store.begin(contents.manifest.image_root, np.dtype(contents.dtype).name)
    for block in contents.vector_blocks():
        store.keep(encoder, zip(contents.hashes[start:], block))
        start += len(block)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rows = zip(contents.paths, contents.labels, contents.hashes)
    records = [Record(path, label, content, UNKNOWN_SIZE, 0, now, how(path, label)) for path, label, content in rows]
    space = restore(contents.manifest.space, contents.space_state)
    store.commit(Change(records, space=space), contents.manifest)
    if contents.calibration:
        store.set_calibration(contents.calibration)


def write_calibration(path: Path, contents: Contents, calibration: Mapping[str, NDArray[Any]]) -> None:
    """Keep what `calibrate` found in the index at `path`, of which `contents` were read."""
    if path.is_dir():
        with Store(path) as store:
            store.set_calibration(calibration)
    else:
        write_archive(path, replace(contents, calibration=calibration))
