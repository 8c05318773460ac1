"""Contents of an index, in whatever format it is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.data.places import NOWHERE, Place, Root
from lmm_classifier.data.readers.opening import open_root
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.manifest import Manifest

Array = NDArray[Any]
NO_IMAGE = NOWHERE / "the example was made from a vector and has no image"
ADDED = ".added/"  # prefix of the ids of images added by hand; no folder of a dataset has this name


@dataclass(frozen=True)
class EncoderVectors:
    """The vectors of one encoder, as it made them, and the arrays of the transform in which they are compared."""

    transform_arrays: Mapping[str, Array]
    blocks: Callable[[], Iterable[Array]]  # consecutive blocks (m, dim), of all examples together
    search_matrix: Callable[[], Float32Array] | None = None  # (N, d) transformed vectors, None where not stored


@dataclass(frozen=True)
class IndexContents:
    """The examples of an index with their vectors; opening the index transforms these."""

    manifest: Manifest
    labels: Sequence[str]
    paths: Sequence[str]  # ids, ascending in a durable index
    hashes: Sequence[str]  # SHA-256 of the image files, hexadecimal
    vectors: tuple[EncoderVectors, ...]  # of each encoder, in the order of `manifest.encoders`
    dtype: DTypeLike = np.float32
    calibration: Mapping[str, Array] | None = None  # stored calibration, None before `calibrate`
    transforms_are_current: bool = True  # whether the transforms were fitted to exactly these images
    added_folder: Path | None = None  # folder with the images that were added by hand
    dismissals: Sequence[Dismissal] = ()  # findings of an audit that a person calls right
    milliseconds: Mapping[str, float] = field(default_factory=dict)  # `space_id` -> time of an encoder per image
    groups: Mapping[str, str] = field(default_factory=dict)  # id -> group, where vectors came with groups
    is_part: bool = False  # whether these are some examples of an index only, so that nothing is stored for them
    version: int = 0  # number of changes of a durable index
    stamp: str = ""  # differs between any two states of durable indexes on which results depend
    name: str = ""  # random, of a durable index; it stays over all edits and calibrations

    @cached_property
    def root(self) -> Root:
        """Return the dataset, whose images are opened by their ids."""
        return open_root(self.manifest.image_root)

    @cached_property
    def identity(self) -> str:
        """Return 16 hexadecimal digits for the index and its encoders; edits and calibrations do not change them.

        An `.npz` file cannot be edited, so there they are those of its examples.
        """
        own = [self.name] if self.name else [self.manifest.created, *self.hashes, *self.labels]
        text = "\n".join([*self.manifest.space_ids, *own])
        return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def file_of(self, path: str) -> Place:
        """Return the image of the example with the id `path`: a file, or a place in whatever holds the dataset.

        It is `NO_IMAGE` where the example was made from a vector.
        """
        if path.startswith(ADDED) and self.added_folder is not None:
            return self.added_folder / path.removeprefix(ADDED)
        if not self.manifest.has_images:
            return NO_IMAGE
        return self.root / path
