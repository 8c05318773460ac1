"""A drift test in a file: a line for its index, then one for each image, so that a later run continues the test."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lmm_classifier.core.appended_file import AppendedFile, whole_records
from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.errors import OutputError
from lmm_classifier.discovery.drift.drift_test import DriftTest, TestedImage

_NUMBERS, _TEXTS = ("familiarity", "p"), ("name", "content", "reference")
_BEGIN_INDEX, _BEGIN_IMAGE = b'{"index": "', b'{"name": "'  # of the first line, and of every other one


def line_of(image: TestedImage) -> str:
    """Return the line of an image, with its line break."""
    values: dict[str, Any] = {name: getattr(image, name) for name in (*_TEXTS, *_NUMBERS)}
    return json.dumps(values) + "\n"


def parsed_line(line: str) -> TestedImage:
    """Undo `line_of`; raise ValueError for another line."""
    values = json.loads(line)
    if not isinstance(values, dict) or set(values) != {*_TEXTS, *_NUMBERS}:
        raise ValueError("not a line of a drift test")
    texts = [values[name] for name in _TEXTS]
    familiarity, p = (float(values[name]) for name in _NUMBERS)
    if not all(isinstance(text, str) for text in texts) or not math.isfinite(familiarity) or not 0 < p <= 1:
        raise ValueError("impossible values of a tested image")
    name, content, reference = texts
    return TestedImage(name, content, familiarity, p, reference)


class DriftLog:
    """A drift test that is stored in a file: each image is appended before its result is used.

    Args:
        path: the file; a new one begins a test, one that exists continues its test. A torn last line is dropped.
        held_out: familiarity of held-out examples of the index, (n,).
        index: `IndexContents.identity` of the index. Edited or calibrated again it is still the same.

    Raises:
        OutputError: the file holds something else or the test of another index, cannot be written, or another program
            is writing it. It is not changed then.
    """

    def __init__(self, path: Path, held_out: Float64Array, index: str) -> None:
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is no file, so it cannot hold a drift test. Name a file.")
        self._index, self._file = index, AppendedFile(path, "resume")
        try:
            self.test: DriftTest = DriftTest.of(held_out, self._images(path))
        except BaseException:
            with suppress(OutputError):
                self._file.__exit__(None, None, None)
            raise

    def _images(self, path: Path) -> Iterator[TestedImage]:
        """Yield the stored images, and drop a torn line after them; begin a file that is new."""
        with path.open("rb") as lines:
            records = whole_records(lines)
            first = next(records, None)
            size = 0 if first is None else len(first)
            if first is not None:
                self._require_index(path, first)
            for number, line in enumerate(records, 2):
                try:
                    image = parsed_line(line.decode("ascii"))
                except (ValueError, TypeError):
                    raise _other_file(f"{path}, line {number}") from None
                size += len(line)
                yield image
            lines.seek(size)
            begin = _BEGIN_IMAGE if size else _BEGIN_INDEX
            torn = lines.read(len(begin))
        if not (torn.startswith(begin) or begin.startswith(torn)):
            raise _other_file(str(path))
        self._file.cut(size)
        if not size:
            self._file.append(json.dumps({"index": self._index}) + "\n")

    def _require_index(self, path: Path, line: bytes) -> None:
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        if not isinstance(values, dict) or set(values) != {"index"}:
            raise _other_file(f"{path}, line 1")
        if values["index"] != self._index:
            raise OutputError(
                f"{path} holds the drift test of another index or of other encoders: expected {self._index}, got "
                f"{str(values['index'])[:16]}. Familiarity of different indexes cannot be compared. Nothing was "
                "changed. Classify with the index of that test, or name another file to begin a new test."
            )

    def observe(self, name: str, content_hash: str, familiarity: float) -> None:
        """Test one more image, and append it; one whose content was tested before is left out."""
        image = self.test.observe(name, content_hash, familiarity)
        if image is not None:
            self._file.append(line_of(image))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; raise OutputError where the disk did not take what was written."""
        self._file.__exit__(kind, error, trace)


def _other_file(place: str) -> OutputError:
    return OutputError(f"{place}: no line of a drift test. Nothing was changed. Name another file.")
