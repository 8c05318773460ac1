"""Read the boxes of Pascal VOC files (XML, one for each image); the name of an object is its label.

A file that defines entities is refused: they may explode. `ImageSets` and `difficult` are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from xml.parsers import expat

from lmm_classifier.data.image_types import EXTENSIONS, UNSUPPORTED, extension
from lmm_classifier.data.places import Root, exists
from lmm_classifier.data.readers.boxes import Annotation, Boxes, require_fields
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.listing import Listing
from lmm_classifier.data.readers.names import member_id

_TEXTS = ("filename", "folder")  # of an image; they can be groups


def list_voc(files: Iterator[tuple[str, bytes]], source: str, images: Root, spec: DatasetSpec) -> Listing:
    """List the objects of Pascal VOC files.

    Args:
        files: the files, each with its name.
        source: the name of their folder, for messages.
        images: where the images are. An image whose file is not named in full has the name of the XML file.
        spec: `group_from` may be `filename` or `folder`.

    Raises:
        DatasetError: a chosen field is not there, or none of the images.
    """
    require_fields(source, spec.label_from, "the labels (label_from)", ["name"])
    require_fields(source, spec.group_from, "the groups (group_from)", _TEXTS)
    require_fields(source, spec.split_from, "the splits (split_from)", [])
    boxes, names = Boxes(images, "the names of objects"), _ImageNames(images)
    for name, data in files:
        try:
            voc = _VocFile(data)
        except (expat.ExpatError, ValueError) as error:
            boxes.skip(name, f"not a Pascal VOC file: {error}", "unreadable")
            continue
        file = names.of(voc.texts.get("filename", ""), name)
        group = voc.texts.get(spec.group_from) if spec.group_from else None
        boxes.set_size(file, voc.size.get("width"), voc.size.get("height"))
        for number, (label, corners) in enumerate(voc.objects, start=1):
            numbers = [] if len(corners) < 4 else _from_corners(corners)
            boxes.add(Annotation(f"object {number} of {name}", file, numbers, label, group))
    return boxes.finished(source)


def _from_corners(box: Mapping[str, float]) -> list[float]:
    """Return left, top, width and height; VOC counts pixels from 1, and the last ones belong to the box."""
    left, top = box["xmin"] - 1, box["ymin"] - 1
    return [left, top, box["xmax"] - left, box["ymax"] - top]


class _ImageNames:
    """Finds the files of images that are named without an ending, by an absolute path, or not at all."""

    def __init__(self, images: Root) -> None:
        self._images = images
        self._endings = ["jpg", "JPG", *sorted(EXTENSIONS)]

    def of(self, named: str, xml: str) -> str:
        path = member_id(named)
        if path is not None and extension(path) in (*EXTENSIONS, *UNSUPPORTED):
            return named
        stem = PurePosixPath(xml).stem
        stems = [stem] if path is None else [path, stem]
        for name in [*stems[:-1], *(f"{name}.{ending}" for name in stems for ending in self._endings)]:
            if exists(self._images / name):
                if (ending := name.rpartition(".")[2]) in self._endings:
                    self._endings.sort(key=lambda other: other != ending)  # probably that of the next image too
                return name
        return f"{stem}.jpg"  # whoever opens it says that it is missing


class _VocFile:
    """The texts, the size and the objects of a Pascal VOC file."""

    def __init__(self, data: bytes) -> None:
        self.texts, self.size = dict[str, str](), dict[str, float]()
        self.objects = list[tuple[str, dict[str, float]]]()
        self._open, self._text = list[str](), ""
        parser = expat.ParserCreate()
        parser.EntityDeclHandler = _refuse
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._add
        parser.Parse(data, True)
        if not (self.texts.get("filename") or self.objects):
            raise ValueError("it names no image and no object")

    def _start(self, name: str, _: Mapping[str, str]) -> None:
        self._open.append(name)
        self._text = ""
        if self._open[1:] == ["object"]:
            self.objects.append(("", {}))

    def _add(self, text: str) -> None:
        self._text += text

    def _end(self, name: str) -> None:
        place, text = self._open[1:], self._text.strip()
        if len(place) == 1 and name in _TEXTS:
            self.texts[name] = text
        elif place[:1] == ["size"] and name in ("width", "height"):
            self.size[name] = float(text) if text.isdecimal() else 0
        elif place == ["object", "name"]:
            self.objects[-1] = text, self.objects[-1][1]
        elif place[:2] == ["object", "bndbox"] and name in ("xmin", "ymin", "xmax", "ymax"):
            self.objects[-1][1][name] = float(text)
        self._open.pop()
        self._text = ""


def _refuse(*_: object) -> None:
    raise ValueError("it defines entities, which are not read")
