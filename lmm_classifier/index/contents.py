"""What an index holds, whatever form it has on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lmm_classifier.index.manifest import Manifest

Array = NDArray[Any]
ADDED = ".added/"  # begins the ids of pictures that were added by hand; a corpus folder is never called so


@dataclass(frozen=True)
class Contents:
    """What is in an index; vectors are as the encoder made them, the space is applied when it is opened."""

    manifest: Manifest
    labels: Sequence[str]
    paths: Sequence[str]  # ids, ascending where the index is a durable one
    hashes: Sequence[str]  # SHA-256 of the files, hexadecimal
    space_state: Mapping[str, Array]
    vector_blocks: Callable[[], Iterable[Array]]  # encoder vectors, in consecutive blocks (m, dim)
    dtype: DTypeLike = np.float32
    calibration: Mapping[str, Array] | None = None  # what `calibrate` found, if it was run
    search_matrix: Callable[[], NDArray[np.float32]] | None = None  # (N, d) in the search space, where it is kept
    space_is_current: bool = True  # whether the space was fitted to just these pictures
    added_folder: Path | None = None  # where the pictures that were added by hand are kept
    version: int = 0  # counts the changes of a durable index

    def file_of(self, path: str) -> Path:
        """Where the picture of the example `path` is to be found."""
        if path.startswith(ADDED) and self.added_folder is not None:
            return self.added_folder / path.removeprefix(ADDED)
        return Path(self.manifest.image_root) / path
