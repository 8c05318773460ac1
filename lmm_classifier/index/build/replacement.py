"""Refuse a build or a sync that would drop most of an index, unless it was asked for.

A wrong folder, or a disk that is not mounted, looks like a dataset of which most images were deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from lmm_classifier.core.errors import IndexFileError, ReplacementError
from lmm_classifier.data.readers.dataset_spec import DatasetSpec, local_path
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.manifest import Manifest

MOST_LOST = 0.5  # fraction of the images of a dataset that may disappear between two builds or syncs
_SYNC = "`lmm-classifier sync {} --index {}`"
_FEW = 10  # so many images may always disappear


def require_same_dataset(output: Path, former: str | None, current: str) -> None:
    """Raise ReplacementError if the index at `output` was built from another source.

    `former` and `current` are stored specifications; None: the index is new. Labels may be taken from another place of
    the same source.
    """
    if former == "":
        source = DatasetSpec.from_stored(current).source
        raise ReplacementError(
            f"The index {output} was made from vectors, but this is a build of {source}. Nothing was changed. "
            "Choose another output."
        )
    if former is None or _is_same_source(former, current):
        return
    before, now = DatasetSpec.from_stored(former), DatasetSpec.from_stored(current)
    raise ReplacementError(
        f"The index {output} was built from {before.source}, but this is a build of {now.source}. Nothing was changed. "
        f"If the dataset moved, run {_SYNC.format(now.source, output)}: it keeps every image that is still there. "
        "If this is another dataset, choose another output, or replace the index."
    )


def require_images(manifest: Manifest | None, source: str) -> None:
    """Raise ReplacementError if an index was made from vectors; None: it is new. It has no dataset to follow."""
    if manifest is not None and not manifest.has_images:
        raise ReplacementError(
            f"The index {source} was made from vectors, so there is no folder of images to bring it up to date with. "
            "Nothing was changed. Make a new index from the new vectors or from the images."
        )


def require_most_remain(former: Sequence[str], current: Iterable[str], output: Path, source: str) -> None:
    """Raise ReplacementError if most of the content hashes `former` are not among `current`."""
    remaining = set(current)
    lost = sum(content_hash not in remaining for content_hash in former)
    if lost > max(_FEW, MOST_LOST * len(former)):
        raise ReplacementError(
            f"{lost} of the {len(former)} images from the dataset of {output} are not in "
            f"{DatasetSpec.from_stored(source).source}. They would be removed or replaced, which is more than "
            f"{MOST_LOST:.0%}. Nothing was changed. Check that this is the "
            "right folder and that its disk is mounted, or replace the index."
        )


def require_replaceable_archive(output: Path, source: str, current: Iterable[str]) -> None:
    """Raise ReplacementError if the `.npz` file at `output` is of another dataset, or would lose most of its images.

    A file that is not a readable index may hold arrays of another program.
    """
    if not output.exists():
        return
    try:
        former = read_index(output)
    except IndexFileError as error:
        raise ReplacementError(
            f"{output} exists and is not a readable index ({str(error).rstrip('.')}). Nothing was changed. Choose "
            "another output, or replace the file."
        ) from None
    require_same_dataset(output, former.manifest.image_root, source)
    require_most_remain(list(former.hashes), current, output, source)


def _is_same_source(former: str, current: str) -> bool:
    before, now = local_path(former), local_path(current)
    if before is None or now is None:
        return DatasetSpec.from_stored(former).source == DatasetSpec.from_stored(current).source
    try:
        return before.samefile(now)
    except OSError:
        return os.path.realpath(before) == os.path.realpath(now)
