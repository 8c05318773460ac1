"""Where the parts of a table are, and the columns that they have.

A table is a folder: `arrivals.lance` takes chunks of encoded images in the order in which they come, `chunks.lance`
tells which of them are in which file, `rows.lance` has their rows sorted by label and content, `about.lance` what is to
be known about these, `statistics.lance` sums over them, and `calibration.lance` the calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmm_classifier.index.backends.lance_table.datasets import Location, arrow
from lmm_classifier.index.manifest import Manifest

ARRIVALS, CHUNKS, ROWS, ABOUT = "arrivals", "chunks", "rows", "about"
STATISTICS, CALIBRATION = "statistics", "calibration"
MANIFEST = "lmm_classifier.manifest"  # entries of the metadata of a dataset
ABOUT_VERSION = "lmm_classifier.about"  # the version of `about.lance` that belongs to these rows
FINISHED = "finished"  # tag of the version of `rows.lance` that readers use
SHA256 = 32  # bytes


def part(url: str, name: str) -> Location:
    """Return the place of a part of the table at `url`."""
    return Location(f"{url.rstrip('/')}/{name}.lance")


def vector_column(encoder: int) -> str:
    """Return the name of the column with the vectors of an encoder, by its place in the manifest."""
    return "vector" if encoder == 0 else f"vector_{encoder}"


def arrivals_schema(dims: Sequence[int], metadata: Mapping[str, str] | None = None) -> Any:
    """Return the columns of `arrivals.lance`, and of each table that is committed but for `chunk`.

    A row is a file, good or bad. A bad one has no vector, and the kind and reason of its refusal.
    """
    types = arrow()
    fields = [
        types.field("content", types.binary(SHA256)),  # SHA-256 of the file, where it could be read
        types.field("path", types.string(), nullable=False),
        types.field("label", types.string(), nullable=False),
        types.field("kind", types.string()),
        types.field("reason", types.string()),
        types.field("chunk", types.string(), nullable=False),
    ]
    return types.schema(fields + _vectors(dims), metadata=metadata)


def rows_schema(dims: Sequence[int], metadata: Mapping[str, str] | None = None) -> Any:
    """Return the columns of `rows.lance`. A row is an image content with a label, whatever the number of its files."""
    types = arrow()
    fields = [
        types.field("label", types.int32(), nullable=False),  # its place among the label names, ascending
        types.field("content", types.binary(SHA256), nullable=False),  # SHA-256 of the image, ascending in a label
        types.field("paths", types.list_(types.string()), nullable=False),  # the ids of its examples, ascending
    ]
    return types.schema(fields + _vectors(dims), metadata=metadata)


def _vectors(dims: Sequence[int]) -> list[Any]:
    types = arrow()
    return [types.field(vector_column(place), types.list_(types.float32(), dim)) for place, dim in enumerate(dims)]


def dims_of(manifest: Manifest) -> list[int]:
    """Return the numbers in a vector of each encoder."""
    return [fingerprint.dim for fingerprint in manifest.fingerprints]
