"""A folder that FiftyOne imports as `fiftyone.types.FiftyOneImageClassificationDataset`.

`labels.json` has the classes and, for each image, its label with a confidence and attributes. `data.json` has the file
of each image, which is not copied. The names of images are numbers, because FiftyOne drops the ending of a name. Images
that are no files, such as members of an archive, are copied into `images`, and parts of images are cut out there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lmm_classifier.core.datatypes import Classification, Example
from lmm_classifier.core.paths import absolute
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place, file_name
from lmm_classifier.data.readers.crops import Crop
from lmm_classifier.integrations.exports.image_access import image_bytes, reason_of
from lmm_classifier.integrations.exports.json_stream import JsonItems, json_object
from lmm_classifier.integrations.exports.new_folder import IMAGES, new_folder

LABELS, DATA = "labels.json", "data.json"
EXAMPLE, EXPORTED_LABEL = "example", "exported_label"


class FiftyOneImages:
    """The images of one folder, written one by one; `problems` has those that could not be copied, and are left out."""

    def __init__(
        self, folder: Path, labels: JsonItems, files: JsonItems, classes: list[str], limits: ImageLimits
    ) -> None:
        self._folder, self._labels, self._files, self._limits = folder, labels, files, limits
        self._classes = classes
        self._numbers = {label: number for number, label in enumerate(classes)}
        self.problems: list[Skipped] = []

    def write(self, result: Classification, place: Place | None = None, run: str = "") -> None:
        """Write the result of an image; one that is unknown or unreadable has the label of unknown images.

        An image that is no file is left out where it cannot be copied, and `problems` says so.
        """
        path = result.path or ""
        attributes: dict[str, Any] = {
            "path": path,
            "reason": result.decision.reason,
            "is_unknown": result.is_unknown,
            "used_reranker": result.used_reranker,
        }
        details = {
            "level": result.level,
            "label_path": " / ".join(result.label_path) if result.label_path else None,
            "similarity": result.similarity,
            "familiarity": result.familiarity,
            "error": result.error,
            "content_hash": result.content_hash,
            "run": run or None,
        }
        attributes |= {name: value for name, value in details.items() if value is not None}
        target = {"label": self._number(result.label), "confidence": round(result.score, 6), "attributes": attributes}
        readable = result.decision.reason != "unreadable"
        self._add(target, place if place is not None else Path(path), path, result.content_hash if readable else None)

    def add_example(self, example: Example, place: Place, content_hash: str, probability: float | None) -> None:
        """Write an example; `probability` is that of its label when it is held out, where that is known."""
        attributes: dict[str, Any] = {EXAMPLE: example.path, EXPORTED_LABEL: example.label}
        attributes |= {} if probability is None else {"held_out_probability": round(probability, 6)}
        self._add({"label": self._number(example.label), "attributes": attributes}, place, example.path, content_hash)

    def _number(self, label: str) -> int:
        if label not in self._numbers:
            self._numbers[label] = len(self._classes)
            self._classes.append(label)
        return self._numbers[label]

    def _add(self, target: dict[str, Any], place: Place, path: str, content_hash: str | None) -> None:
        name = f"{self._labels.count:09}"
        try:
            file = str(absolute(place)) if isinstance(place, Path) else self._copied(place, content_hash)
        except OSError as error:  # FiftyOne opens every file that it is told of
            self.problems.append(Skipped(path, reason_of(error), "not_exported"))
            return
        self._files.add(file, name)
        self._labels.add(target, name)

    def _copied(self, place: Place, content_hash: str | None) -> str:
        """Copy an image that is no file, and return its name; raise OSError where that fails."""
        data = image_bytes(place, content_hash, self._limits)
        suffix = ".png" if isinstance(place, Crop) else Path(file_name(place)).suffix
        copy = self._folder / IMAGES / f"{self._labels.count:09}{suffix}"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(data)
        return f"{IMAGES}/{copy.name}"


@contextmanager
def fiftyone_images(
    output: Path, labels: Iterable[str], limits: ImageLimits, overwrite: bool = False
) -> Iterator[FiftyOneImages]:
    """Yield what writes images to the folder `output`, which appears when the block ends without an error.

    Args:
        output: the folder.
        labels: the classes, in this order; others that come up follow.
        limits: the largest image to copy.
        overwrite: replace an earlier export.

    Raises:
        OutputError: the folder holds other files, or cannot be written.
    """
    classes = list(labels)
    with new_folder(output, (LABELS, DATA), overwrite) as folder, ExitStack() as stack:
        written = stack.enter_context(json_object(folder / LABELS, "labels", {"classes": classes}))
        files = stack.enter_context(json_object(folder / DATA))
        yield FiftyOneImages(folder, written, files, classes, limits)
