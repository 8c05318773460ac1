"""Read the boxes of COCO files (JSON); the category of a box is its label."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.places import Root
from lmm_classifier.data.readers.boxes import Annotation, Boxes, require_fields
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.listing import Listing

_Object = Mapping[str, Any]


def list_coco(data: bytes, source: str, images: Root, spec: DatasetSpec) -> Listing:
    """List the annotated boxes of a COCO file; a box without a category has no label.

    Args:
        data: the file.
        source: its name, for messages.
        images: where the images are.
        spec: `label_from` is a field of the categories, by default `name`; `group_from` and `split_from` are fields of
            the images, such as `file_name`.

    Raises:
        DatasetError: it is no COCO file, a chosen field is not there, or none of the images.
    """
    try:
        coco = _Coco.of(json.loads(data))
        coco.require(spec, source)
        return coco.listed(images, spec).finished(source)
    except DatasetError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DatasetError(
            f"{source} is not a COCO file: expected JSON with images and annotations, and with categories for labels "
            f"({_reason(error)})."
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return str(error)[:200] if type(error) is ValueError else f"{type(error).__name__}: {str(error)[:80]}"


@dataclass(frozen=True)
class _Coco:
    """The parts of a COCO file."""

    images: Sequence[_Object]
    annotations: Sequence[_Object]
    categories: Sequence[_Object]

    @classmethod
    def of(cls, values: Any) -> _Coco:
        if isinstance(values, list):
            raise ValueError(
                "it is a list of results, which names no images: put it as annotations into the file with the images"
            )
        if "images" not in values:
            raise ValueError("it names no images")
        return cls(values["images"], values["annotations"], values.get("categories") or ())

    def require(self, spec: DatasetSpec, source: str) -> None:
        """Raise DatasetError where a chosen field is nowhere."""
        for choice, option, objects in (
            (spec.label_from, "the labels (label_from)", self.categories),
            (spec.group_from, "the groups (group_from)", self.images),
            (spec.split_from, "the splits (split_from)", self.images),
        ):
            require_fields(source, choice, option, _fields(objects))

    def listed(self, images: Root, spec: DatasetSpec) -> Boxes:
        boxes = Boxes(images, "the categories")
        labels = {category["id"]: category.get(spec.label_from or "name") for category in self.categories}
        files = {image["id"]: image for image in self.images}
        for image in self.images:
            boxes.set_size(image.get("file_name"), image.get("width"), image.get("height"))
        for annotation in self.annotations:
            name = f"annotation {annotation.get('id')}"
            image = files.get(_key(annotation.get("image_id")), {})
            if problem := _problem(annotation, image):
                boxes.skip(name, *problem)
                continue
            label = labels.get(_key(annotation.get("category_id")))
            group, split = (image.get(choice) if choice else None for choice in (spec.group_from, spec.split_from))
            boxes.add(Annotation(name, image["file_name"], _numbers(annotation.get("bbox")), label, group, split))
        return boxes


def _problem(annotation: _Object, image: _Object) -> tuple[str, str] | None:
    """Return why an annotation cannot be used, with the kind of reason."""
    number = annotation.get("image_id")
    if number is None:
        return "it names no image (image_id)", "no_path"
    if not image:
        return f"image {number} is not in the file", "no_path"
    if not isinstance(image.get("file_name"), str):
        return f"image {number} has no file_name", "no_path"
    if annotation.get("iscrowd") in (1, True):
        return f"a box of {image['file_name']} around a crowd, not around one object", "ignored"
    return None


def _fields(objects: Iterable[_Object]) -> list[str]:
    return sorted({name for entry in objects for name in entry})


def _key(value: Any) -> str | int | float | None:
    return value if isinstance(value, str | int | float) else None


def _numbers(box: Any) -> list[float]:
    return list(map(float, box)) if isinstance(box, list) and len(box) == 4 else []
