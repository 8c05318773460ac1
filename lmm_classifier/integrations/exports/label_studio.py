"""Tasks of Label Studio with a predicted choice, and the labeling interface that they belong to.

The format is that of https://labelstud.io/guide/predictions: a list of tasks, each with its `data` and `predictions`.
An image without a label, because it is unknown or cannot be read, is a task without a prediction. A coarse label is no
choice, so the likeliest label takes its place; the reason of the task says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from lmm_classifier import __version__
from lmm_classifier.core.datatypes import Classification, Example
from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.files import atomic_write
from lmm_classifier.data.places import Place
from lmm_classifier.discovery.suggestions.suggestion import Suggestion
from lmm_classifier.integrations.exports.image_access import ImageUrls
from lmm_classifier.integrations.exports.json_stream import JsonItems, json_list
from lmm_classifier.integrations.exports.new_file import require_new_file

CONTROL, IMAGE, EXAMPLE, EXPORTED_LABEL = "label", "image", "example", "exported_label"
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def interface_of(labels: Iterable[str]) -> str:
    """Return the labeling interface, in XML: an image, and one choice among the labels.

    Raises OutputError where a label has a character that no XML file can hold.
    """
    choices = []
    for label in labels:
        if _NOT_IN_XML.search(label):
            raise OutputError(f"The label {label!r} has a character that XML cannot hold. Rename the label.")
        choices.append(f"    <Choice value={quoteattr(label)}/>")
    head = f'  <Image name="{IMAGE}" value="${IMAGE}"/>\n  <Choices name="{CONTROL}" toName="{IMAGE}" choice="single">'
    return "\n".join(["<View>", head, *choices, "  </Choices>", "</View>", ""])


def interface_file(tasks: Path) -> Path:
    """Return the file of the labeling interface that belongs to a file of tasks."""
    return tasks.with_name(f"{tasks.stem}.xml")


class LabelStudioTasks:
    """The tasks of one file, written one by one; `labels` grows by those that are predicted."""

    def __init__(self, items: JsonItems, urls: ImageUrls, labels: Iterable[str]) -> None:
        self._items, self._urls = items, urls
        self.labels: set[str] = set(labels)

    def write(self, result: Classification, place: Place | None = None, run: str = "") -> None:
        """Write the result of an image."""
        path = result.path or ""
        data: dict[str, Any] = {
            IMAGE: self._urls.url(place if place is not None else Path(path), path),
            "path": path,
            "reason": result.decision.reason,
            "why": result.why,
        }
        data |= {"error": result.error} if result.error else {}
        data |= {"run": run} if run else {}
        labels = [candidate.label for candidate in result.candidates]
        label, score = (result.label, result.score) if not result.is_unknown else (None, None)
        if result.is_rolled_up:
            label, score = result.candidates[0].label, result.candidates[0].score
        self.labels.update(labels if label is None else [label, *labels])
        self._items.add(_task(data, label, score))

    def add_suggestion(self, suggestion: Suggestion, place: Place, priority: float) -> None:
        """Write an image to label next; `priority` is above 0 to 1, higher comes first: sort tasks by it."""
        data = {
            IMAGE: self._urls.url(place, suggestion.path),
            "path": suggestion.path,
            "priority": round(priority, 6),
            "reason": suggestion.reason,
        }
        if suggestion.label is not None:
            self.labels.add(suggestion.label)
        # where it may be of a new label, the nearest one is no prediction
        label = None if suggestion.reason == "new" else suggestion.label
        self._items.add(_task(data, label, suggestion.score))

    def add_example(self, example: Example, place: Place, probability: float | None) -> None:
        """Write an example; `probability` is that of its label when it is held out, where that is known."""
        data = {
            IMAGE: self._urls.url(place, example.path),
            EXAMPLE: example.path,
            EXPORTED_LABEL: example.label,
        }
        self._items.add(_task(data, example.label, probability))


@contextmanager
def label_studio_tasks(
    output: Path, labels: Collection[str], url_prefix: str | None = None, overwrite: bool = False
) -> Iterator[LabelStudioTasks]:
    """Yield what writes tasks to `output`, and their interface to a file of the same name with the ending `.xml`.

    Both files appear when the block ends without an error.

    Raises:
        OutputError: a file exists and is not to be overwritten, or cannot be written.
    """
    interface = interface_file(output)
    require_new_tasks(output, overwrite)
    interface_of(labels)  # a label that XML cannot hold is refused before a long run
    with ExitStack() as stack:
        try:
            interface_output = stack.enter_context(atomic_write(interface))
            items = stack.enter_context(json_list(stack.enter_context(atomic_write(output))))
        except OSError as error:
            raise OutputError(f"Cannot write {output}: {error.strerror}.") from error
        tasks = LabelStudioTasks(items, ImageUrls(url_prefix), labels)
        yield tasks
        interface_output.write_text(interface_of(sorted(tasks.labels)), encoding="utf-8")


def require_new_tasks(output: Path, overwrite: bool) -> None:
    """Raise OutputError where one of the two files must not be written."""
    interface = interface_file(output)
    if interface == output:
        raise OutputError(f"{output} is the name of the labeling interface. Expected a name that ends in .json.")
    require_new_file(output, b"[", overwrite)
    require_new_file(interface, b"<View>", overwrite)


def _task(data: dict[str, Any], label: str | None, score: float | None) -> dict[str, Any]:
    if label is None:
        return {"data": data, "predictions": []}
    choice = {"from_name": CONTROL, "to_name": IMAGE, "type": "choices", "value": {"choices": [label]}}
    prediction: dict[str, Any] = {"model_version": f"lmm_classifier {__version__}", "result": [choice]}
    if score is not None:
        prediction["score"] = round(score, 6)
    return {"data": data, "predictions": [prediction]}
