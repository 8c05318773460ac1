"""Labels from an export of Label Studio: its JSON, or JSON-MIN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.integrations.corrected_labels.given_label import GivenLabel, read_json, text_or_none
from lmm_classifier.integrations.exports.image_access import LOCAL_FILES
from lmm_classifier.integrations.exports.label_studio import CONTROL, EXAMPLE, EXPORTED_LABEL, IMAGE


def read_label_studio(file: Path, control: str | None = None) -> list[GivenLabel]:
    """Return the labels of the tasks, one for each annotation.

    A prediction is no label: a task that nobody annotated has none.

    Args:
        file: exported in the format JSON or JSON-MIN.
        control: the name of the choices in the labeling interface; None is `label`, as an export to Label Studio has.

    Raises:
        DatasetError: it is no such file.
    """
    tasks = read_json(file)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise DatasetError(
            f"{file} is no export of Label Studio. Expected a list of tasks: its format JSON or JSON-MIN."
        )
    return [label for number, task in enumerate(tasks, start=1) for label in _of_task(task, number, control or CONTROL)]


def _of_task(task: Mapping[str, Any], number: int, control: str) -> Iterator[GivenLabel]:
    where = f"task {task.get('id', number)}"
    data = task.get("data")
    if not isinstance(data, dict):  # JSON-MIN: the data and the answer in one object
        label, problem = _chosen(task.get(control))
        yield _given(where, task, label, problem)
        return
    annotations = task.get("annotations") or ()
    if not isinstance(annotations, list | tuple) or not annotations:
        yield _given(where, data, None, "nobody annotated it")
        return
    for annotation in annotations:
        label, problem = _annotated(annotation, control)
        yield _given(where, data, label, problem)


def _annotated(annotation: object, control: str) -> tuple[str | None, str]:
    if not isinstance(annotation, dict):
        return None, "its annotation is no object"
    if annotation.get("was_cancelled"):
        return None, "the annotator skipped it"
    results = annotation.get("result")
    chosen = [
        (entry.get("value") or {}).get("choices")
        for entry in (results if isinstance(results, list) else ())
        if isinstance(entry, dict) and entry.get("from_name") == control and isinstance(entry.get("value"), dict | None)
    ]
    return _chosen([choice for choices in chosen if isinstance(choices, list) for choice in choices])


def _chosen(answer: object) -> tuple[str | None, str]:
    """Return the one choice of an answer, or why there is none."""
    if isinstance(answer, dict):
        answer = answer.get("choices")
    choices = [answer] if isinstance(answer, str) else answer if isinstance(answer, list) else []
    labels = list(dict.fromkeys(choice for choice in choices if isinstance(choice, str)))
    if len(labels) == 1:
        return labels[0], ""
    return None, "the annotator chose several labels" if labels else "the annotator chose no label"


def _given(where: str, data: Mapping[str, Any], label: str | None, problem: str) -> GivenLabel:
    file = text_or_none(data.get(IMAGE))
    if file is not None and file.startswith(LOCAL_FILES):
        file = "/" + unquote(file.removeprefix(LOCAL_FILES), errors="surrogateescape")
    example, exported = text_or_none(data.get(EXAMPLE)), text_or_none(data.get(EXPORTED_LABEL))
    return GivenLabel(where, example, file, label, problem, exported)
