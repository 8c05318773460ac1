"""Read boxes of objects: COCO files (JSON) and folders of Pascal VOC files (XML). Each box is an example."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any
from xml.parsers import expat

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.places import Root
from lmm_classifier.data.readers.crops import Box, CropRoot, crop_id
from lmm_classifier.data.readers.listing import Listing, Row, Value
from lmm_classifier.data.readers.names import member_id

_FAR = 100_000_000  # pixels; no image is larger
_OUTSIDE = "its path leaves the folder of the images", "outside"


def list_coco(data: bytes, source: str, images: Root, group_from: str | None = None) -> Listing:
    """List the annotated boxes of a COCO file; the name of the category is the label.

    Args:
        data: the file.
        source: its name, for messages.
        images: where the images are.
        group_from: a field of the images whose value is the group, such as `file_name`.

    Raises:
        DatasetError: it is no COCO file.
    """
    try:
        values = json.loads(data)
        names = {category["id"]: category["name"] for category in values["categories"]}
        files = {image["id"]: image for image in values["images"]}
        rows = [_coco_row(annotation, files, names, group_from) for annotation in values["annotations"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"{type(error).__name__}: {str(error)[:80]}"
        raise DatasetError(
            f"{source} is not a COCO file: expected JSON with images, annotations and categories ({reason})."
        ) from None
    return Listing(CropRoot(images), rows, labels="the categories")


def _coco_row(
    annotation: Mapping[str, Any], files: Mapping[Any, Mapping[str, Any]], names: Mapping[Any, Any], group: str | None
) -> Row:
    image = files.get(annotation["image_id"])
    if image is None or not isinstance(image.get("file_name"), str):
        named = f"annotation {annotation.get('id')}"
        return Row(named, problem=(f"image {annotation['image_id']} is not in the file", "no_path"))
    if annotation.get("iscrowd") in (1, True):
        return Row(image["file_name"], problem=("a box around a crowd, not around one object", "ignored"))
    box = annotation.get("bbox")
    numbers = list(map(float, box)) if isinstance(box, list) and len(box) == 4 else []
    label: Value = names.get(annotation["category_id"])
    return _row(image["file_name"], numbers, label, image.get(group) if group else None)


def list_voc(files: Iterator[tuple[str, bytes]], images: Root) -> Listing:
    """List the objects of Pascal VOC files, each given with its name; the name of the object is the label."""
    listing = Listing(CropRoot(images), labels="the names of objects")
    for name, data in files:
        try:
            voc = _VocFile(data)
        except (expat.ExpatError, ValueError) as error:
            listing.rows.append(Row(name, problem=(f"not a Pascal VOC file: {error}", "unreadable")))
            continue
        for label, box in voc.boxes:
            numbers = [] if len(box) < 4 else _from_corners(box)
            listing.rows.append(_row(voc.file, numbers, label, None))
    return listing


def _from_corners(box: Mapping[str, float]) -> list[float]:
    """Return left, top, width and height; VOC counts pixels from 1, and the last ones belong to the box."""
    left, top = box["xmin"] - 1, box["ymin"] - 1
    return [left, top, box["xmax"] - left, box["ymax"] - top]


def _row(file: str, numbers: list[float], label: Value, group: Value) -> Row:
    path = member_id(file)
    if path is None:
        return Row(file, problem=_OUTSIDE)
    if len(numbers) != 4 or not all(math.isfinite(n) and abs(n) < _FAR for n in numbers) or min(numbers[2:]) <= 0:
        return Row(path, problem=("an annotation without a box that has a size", "no_box"))
    return Row(crop_id(path, Box.around(*numbers)), label, group)


class _VocFile:
    """The file name and the objects of a Pascal VOC file. A file that defines entities is refused: they may explode."""

    def __init__(self, data: bytes) -> None:
        self.file, self.boxes = "", list[tuple[str, dict[str, float]]]()
        self._open, self._text = list[str](), ""
        parser = expat.ParserCreate()
        parser.EntityDeclHandler = _refuse
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._add
        parser.Parse(data, True)
        if not self.file:
            raise ValueError("it names no image")

    def _start(self, name: str, _: Mapping[str, str]) -> None:
        self._open.append(name)
        self._text = ""
        if self._open[1:] == ["object"]:
            self.boxes.append(("", {}))

    def _add(self, text: str) -> None:
        self._text += text

    def _end(self, name: str) -> None:
        place, text = self._open[1:], self._text.strip()
        if place == ["filename"]:
            self.file = text
        elif place == ["object", "name"]:
            self.boxes[-1] = text, self.boxes[-1][1]
        elif place[:2] == ["object", "bndbox"] and name in ("xmin", "ymin", "xmax", "ymax"):
            self.boxes[-1][1][name] = float(text)
        self._open.pop()
        self._text = ""


def _refuse(*_: object) -> None:
    raise ValueError("it defines entities, which are not read")
