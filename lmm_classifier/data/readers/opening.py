"""Open a dataset by its specification, and open its images again by their ids."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lmm_classifier.core.errors import DatasetError, LmmClassifierError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.dataset import Dataset, FoundPlaces
from lmm_classifier.data.image_folder import find_images, scan_image_folder
from lmm_classifier.data.image_types import extension
from lmm_classifier.data.places import Root
from lmm_classifier.data.readers.archive import ArchiveRoot
from lmm_classifier.data.readers.box_hint import box_hint
from lmm_classifier.data.readers.coco import list_coco
from lmm_classifier.data.readers.crops import CropRoot
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.hugging_face import HuggingFaceRoot, list_hugging_face
from lmm_classifier.data.readers.known_status import known_file
from lmm_classifier.data.readers.labeled_rows import found_places, labeled_dataset
from lmm_classifier.data.readers.listing import Listing, Row, rows_by_folders
from lmm_classifier.data.readers.manifest import read_manifest
from lmm_classifier.data.readers.names import why_no_image
from lmm_classifier.data.readers.parquet_images import ParquetRoot
from lmm_classifier.data.readers.remote import RemoteFile, RemoteFolder, list_folder, list_folder_in_parts
from lmm_classifier.data.readers.source_file import LocalFile, SourceFile, unreadable
from lmm_classifier.data.readers.tar_archive import tar_root
from lmm_classifier.data.readers.urls import is_url
from lmm_classifier.data.readers.voc import list_voc
from lmm_classifier.data.readers.webdataset import Shards, is_webdataset, list_shards, shard_names
from lmm_classifier.data.readers.zip_archive import zip_root

_TABLES = ("csv", "tsv", "jsonl", "ndjson", "parquet")
_FILES = ("zip", "tar", *_TABLES)
_BOXES = ("json", "xml")  # files of annotations, which are sources with a prefix only
_EXPECTED = "a folder of labeled images, a .zip, .tar, .csv, .tsv, .jsonl or .parquet file, or a URL of one of these"
_BUCKETS = ("s3://", "gs://")
_MOST_XML = 1 << 20  # bytes of the annotations of one image


def open_dataset(spec: DatasetSpec, images: ImagesConfig) -> Dataset:
    """Find the labeled images of a source, whatever kind it is.

    Raises:
        DatasetError: the source does not exist, cannot be read, or holds no labeled image.
        MissingExtraError: a library that reads it is not installed.
    """
    spec = spec.fixed()
    if _is_folder(spec) and not spec.has_choices:
        return scan_image_folder(Path(spec.source), images.follow_links)
    return labeled_dataset(_listing(spec, images), spec)


def find_in_source(spec: DatasetSpec, images: ImagesConfig) -> FoundPlaces:
    """Find the images of a source, labeled or not; raises as `open_dataset` does where it cannot be read."""
    spec = spec.fixed()
    if _is_folder(spec) and not spec.has_choices:
        folder = Path(spec.source)
        found = find_images(folder, images.follow_links)
        ids = tuple(path.relative_to(folder).as_posix() for path in found.paths)
        return FoundPlaces(found.paths, found.skipped, ids)
    return found_places(_listing(spec, images), spec)


def has_levels_of_folders(spec: DatasetSpec) -> bool:
    """Return whether the choices of a specification name levels of folders, and not columns of a table."""
    return not spec.kind and _ending(spec.source) not in _TABLES


def is_one_image(source: str) -> bool:
    """Return whether a source is an image by itself, and not a dataset."""
    spec = DatasetSpec(source)
    if spec.kind or is_url(source):
        return False
    is_folder = os.path.isdir(source)  # noqa: PTH112 - it never raises
    return not is_folder and extension(source) not in (*_FILES, *_BOXES)


def has_label_fields(spec: DatasetSpec) -> bool:
    """Return whether a source has labels in fields of its own, by its name: annotations, tables, datasets of a hub."""
    return bool(spec.kind) or extension(spec.source) in _TABLES


def open_root(stored: str) -> Root:
    """Return the root of a dataset by its stored specification; nothing is read yet."""
    spec = DatasetSpec.from_stored(stored)
    if spec.kind in ("coco", "voc"):
        return CropRoot(_image_root(spec.pair()[1]))
    if spec.kind == "hf":
        return HuggingFaceRoot(spec)
    ending = _ending(spec.source)
    if ending == "zip":
        return zip_root(_file(spec.source))
    if ending == "tar":
        return _tar_root(spec.source)
    if ending == "parquet":
        return ParquetRoot(_file(spec.source), _parent(spec.source), spec.image_from)
    return _parent(spec.source) if ending else _folder(spec.source)


def with_listing(root: Root) -> Root:
    """Return a root that knows which files a server has, where it would ask for each one; else the root itself."""
    if isinstance(root, CropRoot):
        return replace(root, images=with_listing(root.images))
    if isinstance(root, RemoteFolder):
        with suppress(DatasetError):  # then each place says what is wrong
            return list_folder(root.url)[0]
    return root


def list_in_parts(spec: DatasetSpec) -> Iterator[Listing] | None:
    """Return a source that can be listed in parts, so that memory does not grow with it; None for any other.

    These are folders of a bucket whose labels are folders, and several shards of a pattern.
    """
    spec = spec.fixed()
    if spec.kind:
        return None
    if _ending(spec.source) == "tar" and isinstance(shards := _tar_root(spec.source), Shards):
        return _parts_of_shards(shards, spec)
    if spec.source.startswith(_BUCKETS) and not _ending(spec.source) and spec.label_from != "path":
        return (_by_folders(root, rows, spec) for root, rows in list_folder_in_parts(spec.source))
    return None


def _parts_of_shards(shards: Shards, spec: DatasetSpec) -> Iterator[Listing]:
    try:
        for name, archive in shards.archives.items():
            yield list_shards({name: archive}, Shards({name: known_file(archive)}), spec)
            archive.forget_table()
    except OSError as error:
        raise unreadable(spec.source, error) from error


def source_problem(stored: str, to_list: bool = False) -> str:
    """Return why the source of a stored specification cannot be opened now; empty where it can.

    `to_list` asks for what lists the images too; without it only the images themselves are needed.
    """
    spec = DatasetSpec.from_stored(stored)
    if spec.kind == "hf":
        return ""
    source = spec.pair()[not to_list] if spec.kind else spec.source
    if _ending(source) in _TABLES and _ending(source) != "parquet" and not to_list:
        source = str(_parent(source))  # the table is not needed to read an image again
    names = shard_names(source) if _ending(source) == "tar" else [source]
    if is_url(source):
        return _remote_problem(names) if _ending(source) else ""  # a folder of a server is nothing by itself
    gone = [name for name in names if not Path(name).exists()]
    return f"the dataset {'' if _ending(source) else 'folder '}{gone[0]} is missing" if gone else ""


def _remote_problem(urls: Sequence[str]) -> str:
    try:
        for url in urls:
            RemoteFile(url).stat()
    except (OSError, LmmClassifierError) as error:
        return f"the dataset cannot be opened: {error}"
    return ""


def _listing(spec: DatasetSpec, images: ImagesConfig) -> Listing:
    if spec.kind == "coco":
        file, root = spec.pair()
        return list_coco(_content(file), file, _box_images(root), spec)
    if spec.kind == "voc":
        folder, root = spec.pair()
        return list_voc(_annotations(Path(folder)), folder, _box_images(root), spec)
    if spec.kind == "hf":
        return list_hugging_face(spec)
    ending = _ending(spec.source)
    try:
        if ending == "zip":
            return _archive_listing(zip_root(_file(spec.source)), spec)
        if ending == "tar":
            return _tar_listing(spec)
    except OSError as error:
        raise unreadable(spec.source, error) from error
    if ending:
        return read_manifest(_file(spec.source), ending, _parent(spec.source), spec, images.follow_links)
    return _folder_listing(spec, images)


def _folder_listing(spec: DatasetSpec, images: ImagesConfig) -> Listing:
    """List a folder whose labels are not simply its first level, or one that a URL names."""
    if is_url(spec.source):
        root, rows = list_folder(spec.source)
        return _by_folders(root, rows, spec)
    folder = Path(spec.source)
    if not folder.is_dir():
        state = "is neither a folder nor of a known kind" if folder.exists() else "does not exist"
        raise DatasetError(f"{folder} {state}: expected {_EXPECTED}. {box_hint(folder)}".rstrip())
    found = find_images(folder, images.follow_links)
    paths = [path.relative_to(folder).as_posix() for path in found.paths]
    return Listing(folder, rows_by_folders(paths, spec), list(found.skipped))


def _archive_listing(root: ArchiveRoot, spec: DatasetSpec) -> Listing:
    table = root.table()
    return _by_folders(root, [*table.refused, *map(Row, table.members)], spec)


def _by_folders(root: Root, rows: list[Row], spec: DatasetSpec) -> Listing:
    """Return a listing whose labels are folders; files that are no images are passed over."""
    known = [row if row.problem else replace(row, problem=why_no_image(row.path)) for row in rows]
    usable = rows_by_folders((row.path for row in known if not row.problem), spec)
    return Listing(root, [*(row for row in known if row.problem), *usable])


def _tar_listing(spec: DatasetSpec) -> Listing:
    root = _tar_root(spec.source)
    if isinstance(root, Shards):
        return list_shards(root.archives, root, spec)
    if is_webdataset(root.table().members):
        return list_shards({"": root}, root, spec)
    return _archive_listing(root, spec)


def _tar_root(source: str) -> Shards | ArchiveRoot:
    """Return one archive, or several whose names a pattern gives: their ids then begin with the name of the archive."""
    names = shard_names(source)
    if len(names) == 1:
        return tar_root(_file(names[0]))
    folder = os.path.commonpath(names) if not is_url(source) else source.partition("{")[0].rpartition("/")[0]
    shards = {name[len(folder) :].strip("/").replace("/", "-"): tar_root(_file(name)) for name in names}
    return Shards(shards)


def _annotations(folder: Path) -> Iterator[tuple[str, bytes]]:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".xml")
    except OSError as error:
        raise unreadable(str(folder), error) from error
    for path in files:
        with path.open("rb") as file:
            yield path.name, file.read(_MOST_XML)


def _image_root(source: str) -> Root:
    ending = _ending(source)
    if ending in ("zip", "tar"):
        return zip_root(_file(source)) if ending == "zip" else tar_root(_file(source))
    return _folder(source)


def _box_images(source: str) -> Root:
    root = _image_root(source)
    if isinstance(root, Path) and not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"The folder of the images, {root}, {state}.")
    return root


def _is_folder(spec: DatasetSpec) -> bool:
    return not spec.kind and not is_url(spec.source) and not _ending(spec.source)


def _ending(source: str) -> str:
    """Return the ending of a file that holds a dataset; empty for a folder, whatever its name."""
    ending = extension(source.rpartition("/")[2])
    if ending not in _FILES or (not is_url(source) and os.path.isdir(source)):  # noqa: PTH112
        return ""
    return ending


def _file(source: str) -> SourceFile:
    return RemoteFile(source) if is_url(source) else LocalFile(Path(source))


def _folder(source: str) -> Root:
    return RemoteFolder(source) if is_url(source) else Path(source)


def _parent(source: str) -> Root:
    return RemoteFolder(source.rpartition("/")[0]) if is_url(source) else Path(source).parent


def _content(source: str) -> bytes:
    try:
        with _file(source).open() as file:
            return file.read()
    except OSError as error:
        raise unreadable(source, error) from error
