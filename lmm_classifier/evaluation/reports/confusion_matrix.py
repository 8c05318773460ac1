"""The confusion matrix as a heat map: true labels down, given labels across; only what occurred is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmm_classifier.evaluation.levels import is_rolled_up
from lmm_classifier.evaluation.reports.tables import Cell, Link, Table
from lmm_classifier.evaluation.results import Evaluation

MOST_LABELS = 60  # drawn: with more, cells were too small to see and to press
UNKNOWN = "unknown"  # the row of unknown images, and the column of images that were called unknown
_PAIR_ROWS = 500  # of the table
_SIDES = (40, 28, 20, 13)  # of a cell, in units of the drawing, for up to 12, 24, 40 and 60 labels
_ENDS = (12, 24, 40, MOST_LABELS + 1)
_LETTERS = 20  # of a name that are drawn
_LETTER = 6.2  # units of the drawing, on average

Pair = tuple[str | None, str | None]  # true label (None: an unknown image) and given label (None: called unknown)


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """A cell with the number of its images, in the coordinates of SVG."""

    x: float
    y: float
    count: int
    opacity: float  # 0 to 1, by the fraction of the images of the true label
    is_correct: bool
    text: str  # in words
    anchor: str  # of its images; empty where none are shown


@dataclass(frozen=True, slots=True)
class MatrixName:
    """The name of a row or of a column; `text` is cut, `full` is not."""

    place: float  # the middle of the row or column
    text: str
    full: str


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """A heat map, and what it leaves out."""

    caption: str
    names: Sequence[MatrixName]
    cells: Sequence[MatrixCell]
    side: int  # of a cell
    margin: int  # room for names at the left and at the top
    size: int  # of the drawing

    @property
    def has_numbers(self) -> bool:
        """Return whether there is room for numbers in the cells."""
        return self.side >= 18


def confusion_counts(evaluation: Evaluation) -> Counter[Pair]:
    """Count the images of each pair of a true and a given label, also where both agree; coarse answers do not count."""
    given = [entry for entry in evaluation.known if not is_rolled_up(entry.result)]
    known = ((entry.truth, None if entry.result.is_unknown else entry.result.label) for entry in given)
    unknown = ((None, None if entry.result.is_unknown else entry.result.label) for entry in evaluation.unknowns)
    return Counter([*known, *unknown])


def confusion_matrix(counts: Mapping[Pair, int], anchors: Mapping[Pair, str]) -> ConfusionMatrix:
    """Draw the pairs of the labels that have the most errors, at most 60 labels.

    Args:
        counts: images of each pair.
        anchors: where the images of a pair are shown.
    """
    errors = Counter[str | None]()
    totals = Counter[str | None]()
    for (truth, given), count in counts.items():
        totals[truth] += count
        for label in (truth, given):
            errors[label] += count if truth != given else 0
    labels = sorted(label for label in errors if label is not None)
    if left_out := len(labels) > MOST_LABELS:
        labels = sorted(sorted(labels, key=lambda label: -errors[label])[:MOST_LABELS])
    order: list[str | None] = [*labels, *([None] if None in errors else [])]
    side = next(side for side, end in zip(_SIDES, _ENDS, strict=True) if len(order) <= end)
    margin = 14 + round(_LETTER * max((len(_cut(_named(label))) for label in order), default=0))
    places = {label: margin + number * side for number, label in enumerate(order)}
    cells = [
        _cell(pair, count, totals[pair[0]], (places[pair[1]], places[pair[0]]), anchors.get(pair, ""))
        for pair, count in counts.items()
        if pair[0] in places and pair[1] in places
    ]
    caption = "True labels are rows, given labels are columns. Darker is a larger share of the images of the true label"
    if left_out:
        total = len([label for label in errors if label is not None])
        caption += f"; of {total} labels the {MOST_LABELS} with the most errors are drawn"
    if any(cell.anchor for cell in cells):
        caption += ". Choose a cell to see its images"
    names = [MatrixName(places[label] + side / 2, _cut(_named(label)), _named(label)) for label in order]
    return ConfusionMatrix(f"{caption}.", names, cells, side, margin, margin + side * len(order))


def pairs_table(counts: Mapping[Pair, int], anchors: Mapping[Pair, str]) -> Table:
    """List the pairs whose labels differ, the most frequent first; the table says what the heat map shows."""
    totals = Counter[str | None]()
    for (truth, _), count in counts.items():
        totals[truth] += count
    wrong = sorted(
        ((pair, count) for pair, count in counts.items() if pair[0] != pair[1]),
        key=lambda item: (-item[1], _named(item[0][0]), _named(item[0][1])),
    )
    rows: list[list[Cell]] = [
        [
            _named(truth),
            Link(_named(given), anchors.get((truth, given), "")),
            str(count),
            f"{100 * count / totals[truth]:.0f}%",
        ]
        for (truth, given), count in wrong[:_PAIR_ROWS]
    ]
    return Table(["label", "predicted as", "images", "of its images"], rows)


def describe_pair(pair: Pair) -> str:
    """Return in words which label was given to images of which."""
    truth, given = pair
    words = "called unknown" if given is None else f"predicted as {given}"
    return f"{'unknown images' if truth is None else truth} {words}"


def _cell(pair: Pair, count: int, total: int, place: tuple[float, float], anchor: str) -> MatrixCell:
    text = f"{describe_pair(pair)}: {count} of {total}"
    return MatrixCell(*place, count, 0.12 + 0.6 * count / total, pair[0] == pair[1], text, anchor)


def _named(label: str | None) -> str:
    return UNKNOWN if label is None else label


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
