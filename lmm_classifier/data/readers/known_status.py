"""Ask a server once how an archive or a table is now, and not again for each image in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.data.places import Root
from lmm_classifier.data.readers.archive import ArchiveRoot
from lmm_classifier.data.readers.crops import CropRoot
from lmm_classifier.data.readers.parquet_images import ParquetImages, ParquetRoot
from lmm_classifier.data.readers.remote import RemoteFile
from lmm_classifier.data.readers.webdataset import Shards

FileRoot = TypeVar("FileRoot", ArchiveRoot, ParquetRoot, ParquetImages)


def with_known_status(root: Root) -> Root:
    """Return the root; the server of an archive or a table is asked once, and not for each image, how it is now."""
    if isinstance(root, CropRoot):
        return replace(root, images=with_known_status(root.images))
    if isinstance(root, Shards):
        return Shards({name: known_file(archive) for name, archive in root.archives.items()})
    if isinstance(root, ArchiveRoot):
        return known_file(root)
    if isinstance(root, ParquetRoot):
        return known_file(root)
    return known_file(root) if isinstance(root, ParquetImages) else root


def known_file(root: FileRoot) -> FileRoot:
    """Do so for a root that is one file."""
    if not isinstance(root.file, RemoteFile) or root.file.known is not None:
        return root
    try:
        return replace(root, file=replace(root.file, known=root.file.stat()))
    except (OSError, LmmClassifierError):  # then each place says what is wrong
        return root
