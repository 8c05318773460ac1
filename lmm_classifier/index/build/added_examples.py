"""Images that are added to an index by hand: their contents, and the places of their files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from lmm_classifier.core.errors import ImageError
from lmm_classifier.core.files import atomic_write
from lmm_classifier.core.own_files import lies_in_own_folder
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.file_content import read_bytes
from lmm_classifier.data.ignored_names import is_ignored_folder
from lmm_classifier.data.image_inputs import ImageInput, path_of, place_of, read_input
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place
from lmm_classifier.data.readers.crops import Crop
from lmm_classifier.data.readers.dataset_spec import DatasetSpec, local_path
from lmm_classifier.data.readers.opening import open_root
from lmm_classifier.index.contents import ADDED, NO_IMAGE
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.records import Record, file_stamp, provenance
from lmm_classifier.index.storage.store import Store

_NAMELESS = ("image", "image.png")  # names of images that are no files: any, and PNG
_MAX_NAME = 80  # bytes of a file name that stay in the id of an added image


def prepare_examples(
    store: Store,
    manifest: Manifest,
    images: Sequence[ImageInput],
    labels: Sequence[str],
    limits: ImageLimits,
) -> tuple[dict[str, Record], list[Skipped]]:
    """Return records of the images that are not in the index yet, by their given names, and the skipped images.

    A file in the dataset folder stays there; every other image is copied into the index.
    """
    root, folder = open_root(manifest.image_root), dataset_folder(manifest)
    by_hash: dict[str, Record] = {}
    new_records: dict[str, Record] = {}
    skipped = []
    for number, (image, label) in enumerate(zip(images, labels)):
        file = path_of(image)
        name = f"image {number}" if file is None else file
        place = place_of(image) if isinstance(image, str | os.PathLike | Place) else None
        try:
            # a part of an image has no bytes of its own
            is_whole = place is not None and not isinstance(place, Crop)
            data = read_bytes(place, limits) if place is not None and is_whole else _content(image, limits)
        except ImageError as error:
            skipped.append(Skipped(name, str(error), error.kind))
            continue
        content_hash = hashlib.sha256(data).hexdigest()
        known = by_hash.get(content_hash) or store.record_with_content(content_hash)
        if known is not None:
            skipped.append(_already_there(name, known, label))
            continue
        path = None
        if manifest.has_images and folder is not None and isinstance(place, Path):
            path = id_in_folder(folder, place)
        if path is None:
            copy = _copy(store, data, _file_name(content_hash, file or _NAMELESS[data.startswith(b"\x89PNG")]))
            record = _record(ADDED + copy.name, label, content_hash, copy)
        else:
            record = _record(path, label, content_hash, root / path)
        new_records[name] = by_hash[content_hash] = record
    return new_records, skipped


def dataset_folder(manifest: Manifest) -> Path | None:
    """Return the folder of the dataset; None where it is an archive, a table or anything else."""
    spec = DatasetSpec.from_stored(manifest.image_root)
    root = open_root(manifest.image_root)
    return root if isinstance(root, Path) and root == local_path(manifest.image_root) and not spec.has_choices else None


def id_in_folder(root: Path, file: Path | str) -> str | None:
    """Return the id of a file that lies in a label's folder of the dataset, None for others.

    A file of an index that lies in the dataset is another one: a sync would not find it there.
    """
    folder, path = Path(os.path.realpath(root)), Path(os.path.realpath(file))
    relative = Path(os.path.relpath(path, folder))
    is_scanned = len(relative.parts) > 1 and not any(map(is_ignored_folder, relative.parts))
    return relative.as_posix() if is_scanned and not lies_in_own_folder(path, folder) else None


def file_of(store: Store, manifest: Manifest, path: str) -> Place:
    """Return the image file of the example with the id `path`."""
    if path.startswith(ADDED):
        return store.added_folder / path.removeprefix(ADDED)
    if not manifest.has_images:
        return NO_IMAGE
    return _root(manifest.image_root) / path


_root = lru_cache(maxsize=1)(open_root)  # an archive is not opened again for each of many examples


def _already_there(name: str, known: Record, label: str) -> Skipped:
    if known.label == label:
        return Skipped(name, f"already there ({known.path})", "present")
    return Skipped(name, f"already there as {known.label!r}; relabel it instead ({known.path})", "conflict")


def _copy(store: Store, data: bytes, name: str) -> Path:
    copy = store.added_folder / name
    copy.parent.mkdir(exist_ok=True)
    with atomic_write(copy) as temporary:
        temporary.write_bytes(data)
    return copy


def _record(path: str, label: str, content_hash: str, file: Place) -> Record:
    stat, now = file.stat(), datetime.now(UTC).isoformat(timespec="seconds")
    return Record(path, label, content_hash, stat.st_size, file_stamp(stat), now, provenance(path, label))


def _file_name(content_hash: str, file: str) -> str:
    """Return a unique file name that ends in the given one."""
    name = os.fsencode(Path(file).name)
    return f"{content_hash[:16]}-{name[-_MAX_NAME:].decode('utf-8', 'ignore')}"


def _content(image: ImageInput, limits: ImageLimits) -> bytes:
    """Return the bytes of a file with the image; raises ImageError where it cannot be decoded."""
    decoded = read_input(image, limits)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    stream = BytesIO()
    decoded.image.save(stream, "PNG")
    return stream.getvalue()
