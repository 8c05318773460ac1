"""Labels from an export of FiftyOne: FiftyOneImageClassificationDataset or FiftyOneDataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.integrations.corrected_labels.given_label import GivenLabel, read_json, text_or_none
from lmm_classifier.integrations.exports.fiftyone import DATA, EXAMPLE, EXPORTED_LABEL, LABELS

_SAMPLES = "samples.json"
_USUAL = "ground_truth"  # the field of labels, as FiftyOne names it where nobody else does


def read_fiftyone(source: Path, field: str | None = None) -> list[GivenLabel]:
    """Return the labels of the samples.

    Args:
        source: the exported folder, or its file `labels.json` or `samples.json`.
        field: of several fields with a classification, the one to read; None is `ground_truth`, or the only one.

    Raises:
        DatasetError: it is no such export, or the field is not known.
    """
    file = source
    if source.is_dir():
        found = [source / name for name in (LABELS, _SAMPLES) if (source / name).is_file()]
        if not found:
            raise DatasetError(f"{source} has neither {LABELS} nor {_SAMPLES}. Expected an export of FiftyOne.")
        file = found[0]
    values = read_json(file)
    if isinstance(values, dict) and isinstance(values.get("labels"), dict):
        return list(_of_labels(values, _files(file.parent)))
    if isinstance(values, dict) and isinstance(values.get("samples"), list):
        samples = [sample for sample in values["samples"] if isinstance(sample, dict)]
        return list(_of_samples(samples, _field(samples, field, file), file.parent))
    raise DatasetError(f"{file} is no export of FiftyOne. Expected an object with labels or samples.")


def _of_labels(values: Mapping[str, Any], files: Mapping[str, str]) -> Iterator[GivenLabel]:
    classes = values.get("classes")
    names: list[Any] = classes if isinstance(classes, list) else []
    for name, target in values["labels"].items():
        detailed: Mapping[str, Any] = target if isinstance(target, dict) else {"label": target}
        label, problem = _label(detailed.get("label"), names)
        yield _given(f"image {name}", detailed.get("attributes"), files.get(name), label, problem)


def _label(target: object, classes: list[Any]) -> tuple[str | None, str]:
    if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < len(classes):
        target = classes[target]
    if isinstance(target, list):
        return None, "it has several labels"
    label = text_or_none(target)
    return label, "" if label is not None else "it has no label"


def _files(folder: Path) -> dict[str, str]:
    """Return the files of images by their names: those of `data.json`, else those in the folder `data`."""
    if (folder / DATA).is_file():
        listed = read_json(folder / DATA)
        known = listed if isinstance(listed, dict) else {}
        return {_name(str(name)): str(folder / str(file)) for name, file in known.items()}
    data = folder / "data"
    return {_name(file.relative_to(data).as_posix()): str(file) for file in data.rglob("*") if file.is_file()}


def _name(file: str) -> str:
    """Return the name of an image, which is that of its file without the ending."""
    return str(PurePosixPath(file).with_suffix("")) if PurePosixPath(file).suffix else file


def _field(samples: list[dict[str, Any]], field: str | None, file: Path) -> str:
    fields = list(dict.fromkeys(name for sample in samples for name, value in sample.items() if _is_label(value)))
    if field is not None or not fields:
        if field not in fields:
            listed = ", ".join(map(repr, fields)) or "no field of classifications"
            raise DatasetError(f"{file} has no field {field or _USUAL!r} of classifications. It has {listed}.")
        return field
    if len(fields) > 1 and _USUAL not in fields:
        raise DatasetError(f"{file} has several fields of classifications: {', '.join(fields)}. Name one of them.")
    return _USUAL if _USUAL in fields else fields[0]


def _is_label(value: object) -> bool:
    return isinstance(value, dict) and value.get("_cls") == "Classification"


def _of_samples(samples: list[dict[str, Any]], field: str, folder: Path) -> Iterator[GivenLabel]:
    for number, sample in enumerate(samples, start=1):
        value = sample.get(field)
        label, problem = _label(value.get("label") if isinstance(value, dict) else None, [])
        path = text_or_none(sample.get("filepath"))
        file = None if path is None else str(folder / path)
        yield _given(f"sample {number}", value if isinstance(value, dict) else {}, file, label, problem)


def _given(where: str, attributes: object, file: str | None, label: str | None, problem: str) -> GivenLabel:
    known = attributes if isinstance(attributes, dict) else {}
    example, exported = text_or_none(known.get(EXAMPLE)), text_or_none(known.get(EXPORTED_LABEL))
    return GivenLabel(where, example, file, label, problem, exported)
