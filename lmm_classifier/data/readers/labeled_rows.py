"""The examples of a listing: its labels checked, one split chosen, repeated ids told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.labels import normal_label, visible
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.dataset import Dataset, FoundPlaces, label_warnings
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.listing import Listing, Row, Value
from lmm_classifier.data.readers.names import case_warnings

_SHOWN = 5  # names in a message


def labeled_dataset(listing: Listing, spec: DatasetSpec) -> Dataset:
    """Return the dataset of a listing.

    Raises:
        DatasetError: no image has a label, or the split is not there.
    """
    kept, skipped = labeled_examples(listing, spec)
    if not kept:
        require_split(listing.rows, spec)
        raise no_labeled_row(spec, skipped, bool(listing.rows))
    examples = tuple(example for example, _ in kept)
    groups = tuple(group for _, group in kept) if any(group for _, group in kept) else ()
    counts = Counter(example.label for example in examples)
    warnings = [*listing.warnings, *case_warnings(example.path for example in examples), *label_warnings(counts)]
    skipped.sort(key=lambda file: file.path)
    return Dataset(listing.root, spec.stored(), examples, tuple(skipped), tuple(warnings), groups)


def labeled_examples(listing: Listing, spec: DatasetSpec) -> tuple[list[tuple[Example, str]], list[Skipped]]:
    """Return the examples of the split, each with its group, sorted by id; and what is skipped."""
    rows, skipped = _unique(_of_split(listing.rows, spec), listing.skipped)
    labels: dict[str, str] = {}  # all images of a label share one string
    kept = list[tuple[Example, str]]()
    for row in rows:
        text = text_of(row.label)
        if text is None or not visible(text) or "\0" in text:
            found = "has no label" if text in (None, "") else f"has the label {text!r}, which no reader can see"
            skipped.append(Skipped(row.path, f"{found} in {listing.labels}{_named(row)}", "no_label"))
        else:
            label = normal_label(text)
            kept.append((Example(row.path, labels.setdefault(label, label)), text_of(row.group) or ""))
    kept.sort(key=lambda pair: pair[0].path)
    return kept, skipped


def found_places(listing: Listing, spec: DatasetSpec) -> FoundPlaces:
    """Return the images of a listing, whether they have labels or not."""
    require_split(listing.rows, spec)
    rows, skipped = _unique(_of_split(listing.rows, spec), listing.skipped)
    paths = sorted(row.path for row in rows)
    places = tuple(listing.root / path for path in paths)
    skipped.sort(key=lambda file: file.path)
    return FoundPlaces(places, tuple(skipped), tuple(paths), tuple(listing.warnings))


def text_of(value: Value) -> str | None:
    """Return a cell as text, None where it is empty; 3.0 is "3", because tables with gaps hold integers so."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) or None if isinstance(value, str | int | float) else None  # a list is no label


def _of_split(rows: Sequence[Row], spec: DatasetSpec) -> Sequence[Row]:
    return rows if spec.split is None else [row for row in rows if text_of(row.split) == spec.split]


def require_split(rows: Sequence[Row], spec: DatasetSpec) -> None:
    """Raise DatasetError where a split is chosen and no row is of it."""
    if spec.split is not None and not _of_split(rows, spec):
        splits = sorted({text for row in rows if (text := text_of(row.split)) is not None})
        there = f"There are {', '.join(map(repr, splits[:_SHOWN]))}" if splits else "No image has a split"
        raise DatasetError(f"{spec.source} has no image of the split {spec.split!r}. {there}.")


def _unique(rows: Iterable[Row], skipped: Iterable[Skipped]) -> tuple[list[Row], list[Skipped]]:
    """Return the usable rows, each id once, and what is skipped."""
    kept: dict[str, Row] = {}
    left = list(skipped)
    for row in rows:
        if row.problem is not None:
            left.append(Skipped(row.path, *row.problem))
        elif (former := kept.setdefault(row.path, row)) is not row:
            same = text_of(former.label) == text_of(row.label)
            first = "" if same else f"; the first one has the label {text_of(former.label)!r}"
            left.append(Skipped(row.path, f"named again{_named(row)}{first}", "ignored" if same else "repeated"))
    return list(kept.values()), left


def _named(row: Row) -> str:
    return f" ({row.name})" if row.name else ""


def no_labeled_row(spec: DatasetSpec, skipped: Sequence[Skipped], has_rows: bool) -> DatasetError:
    """Return the error for a source without a labeled image; `has_rows` says whether it has any images."""
    failed = [file for file in skipped if file.failed] or skipped
    reason = f"; {len(skipped)} were skipped, such as {failed[0].path}: {failed[0].reason}" if failed else ""
    if not has_rows and not reason:
        reason = "; nothing is in it"
    return DatasetError(f"dataset {spec.source} holds no labeled image{reason}")
