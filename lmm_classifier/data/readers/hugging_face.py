"""Read a dataset by the library `datasets`: a name of the hub or of its cache, or a folder in its layout."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import DatasetError, LmmClassifierError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.redaction import quote_foreign
from lmm_classifier.data.places import MemberStatus
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.listing import Listing, Row
from lmm_classifier.data.readers.parquet_images import image_row_id, row_of_image

_ROWS = 1000  # read at a time


@dataclass
class HuggingFaceRoot:
    """The splits of a dataset as a root; an id is the split and the row."""

    spec: DatasetSpec
    _splits: Mapping[str, Any] | None = None
    _lock: ForkSafeLock = field(default_factory=ForkSafeLock)

    def splits(self) -> Mapping[str, Any]:
        """Return the splits; raise DatasetError where the library cannot load them."""
        with self._lock:
            if self._splits is None:
                self._splits = _load(self.spec)
            return self._splits

    def __reduce__(self) -> tuple[type[HuggingFaceRoot], tuple[DatasetSpec]]:
        return type(self), (self.spec,)

    def __truediv__(self, path: str, /) -> HuggingFacePlace:
        return HuggingFacePlace(self, path)


@dataclass(frozen=True)
class HuggingFacePlace:
    """The image of one row."""

    root: HuggingFaceRoot
    path: str

    def stat(self) -> MemberStatus:
        """Return a status without times: only reading tells whether the image changed."""
        value = self._value()
        return MemberStatus(len(value) if isinstance(value, bytes) else value.stat().st_size)

    def read_bytes(self) -> bytes:
        """Return the bytes of the image; raise OSError where there is none."""
        value = self._value()
        return value if isinstance(value, bytes) else value.read_bytes()

    def _value(self) -> bytes | Path:
        """Return the bytes in the row, or the file that it names."""
        split, _, rest = self.path.partition("/")
        try:
            rows = self.root.splits().get(split)
        except LmmClassifierError as error:
            raise OSError(str(error)) from error
        row = row_of_image(rest)
        if rows is None or not 0 <= row < len(rows):
            raise FileNotFoundError(f"{self.root.spec.source} has no row {self.path!r} now")
        value = rows[row][_image_column(rows.features, self.root.spec)]
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            return bytes(value["bytes"])
        if not isinstance(value, dict) or not isinstance(value.get("path"), str) or "://" in value["path"]:
            raise FileNotFoundError(f"row {self.path} of {self.root.spec.source} has no image on this disk")
        return Path(value["path"])

    def __str__(self) -> str:
        return f"{self.root.spec.source}/{self.path}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HuggingFacePlace) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def list_hugging_face(spec: DatasetSpec) -> Listing:
    """List the images of a dataset, of its splits or of the one that is chosen.

    Raises:
        DatasetError: it cannot be loaded, or lacks a column.
        MissingExtraError: `datasets` is not installed.
    """
    root = HuggingFaceRoot(spec)
    listing = Listing(root, labels="the column of labels")
    for split, rows in root.splits().items():
        image, label = _image_column(rows.features, spec), _column(rows, spec.label_from, "label")
        group = _column(rows, spec.group_from, "group")
        names = getattr(rows.features[label], "names", None) if label else None
        wanted = [name for name in dict.fromkeys((label, group)) if name is not None]
        for number, (name, values) in enumerate(zip(_paths(rows, image), _values(rows, wanted))):
            text = values.get(label) if label else None
            if names and isinstance(text, int):
                text = names[text] if 0 <= text < len(names) else None
            path = f"{split}/{image_row_id(number, name)}"
            listing.rows.append(Row(path, text, values.get(group) if group else None, split))
    return listing


def _load(spec: DatasetSpec) -> Mapping[str, Any]:
    datasets = import_optional("datasets", "datasets")
    name = spec.source.removeprefix("hf:")
    if not name:
        raise DatasetError("hf: is followed by no name. Expected hf:OWNER/NAME, or hf:FOLDER.")
    try:
        if Path(name).is_dir() and not any(Path(name).glob("*.parquet")):
            loaded = datasets.load_dataset("imagefolder", data_dir=name)
        else:
            loaded = datasets.load_dataset(name)
        splits = {str(split): rows for split, rows in loaded.items()}
        return {
            split: rows.cast_column(_image_column(rows.features, spec), datasets.Image(decode=False))
            for split, rows in splits.items()
        }
    except LmmClassifierError:
        raise
    except Exception as error:  # the library raises errors of many kinds
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise DatasetError(f"{spec.source} cannot be loaded{offline}: {quote_foreign(str(error))}.") from error


def _image_column(features: Mapping[str, Any], spec: DatasetSpec) -> str:
    images = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if spec.image_from in images or (spec.image_from is None and images):
        return spec.image_from or images[0]
    raise DatasetError(f"{spec.source} has no column of images{f' {spec.image_from!r}' if spec.image_from else ''}.")


def _column(rows: Any, chosen: str | None, usual: str) -> str | None:
    if chosen is not None and chosen not in rows.features:
        raise DatasetError(f"No column {chosen!r} is there. The columns are {', '.join(map(repr, rows.features))}.")
    return chosen or (usual if usual in rows.features else None)


def _paths(rows: Any, image: str) -> Iterator[str]:
    """Yield the name of each image, without reading its bytes; empty where it has none."""
    for start in range(0, len(rows), _ROWS):
        images = rows.with_format("arrow")[start : start + _ROWS][image].combine_chunks()
        yield from (name or "" for name in images.field("path").to_pylist())


def _values(rows: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    if not columns:
        yield from ({} for _ in range(len(rows)))
        return
    plain = rows.select_columns(columns).with_format("arrow")
    for start in range(0, len(rows), _ROWS):
        yield from plain[start : start + _ROWS].to_pylist()
