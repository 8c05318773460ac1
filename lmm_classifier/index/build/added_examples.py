"""Pictures that are to be added to an index by hand: what they hold, and where their files belong."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from PIL import Image

from lmm_classifier.core.errors import ImageError
from lmm_classifier.core.files import replacing_file
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.images import ImageLimits, read_bytes, upright_rgb
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.records import Record, how
from lmm_classifier.index.storage.store import Store

_LONGEST_NAME = 80  # bytes of a file's name that stay in the id of an added picture


def prepare(
    store: Store,
    manifest: Manifest,
    images: Sequence[Image.Image | Path | str],
    labels: Sequence[str],
    limits: ImageLimits,
) -> tuple[dict[str, Record], list[Skipped]]:
    """Records of the pictures that are not in the index yet, by the names they were given, and what is not to be added.

    The file of one that lies in the corpus folder stays there; every other picture is copied into the index.
    """
    before = {record.content_hash: record for record in store.records()}
    newcomers: dict[str, Record] = {}
    here: dict[str, Record] = {}  # by content
    skipped = []
    for number, (image, label) in enumerate(zip(images, labels)):
        name = f"picture {number}" if isinstance(image, Image.Image) else str(image)
        try:
            data = _as_png(image) if isinstance(image, Image.Image) else read_bytes(Path(image), limits)
        except ImageError as error:
            skipped.append(Skipped(name, str(error), error.kind))
            continue
        content = hashlib.sha256(data).hexdigest()
        known = before.get(content) or here.get(content)
        if known is not None:
            same = known.label == label
            what = "already there" if same else f"already there as {known.label!r}: relabel it"
            skipped.append(Skipped(name, f"{what} ({known.path})", "present" if same else "conflict"))
        elif (path := None if isinstance(image, Image.Image) else within(Path(manifest.image_root), image)) is not None:
            newcomers[name] = here[content] = _record(path, label, content, Path(manifest.image_root) / path)
        else:
            kept = store.added_folder / _file_name(content, image)
            kept.parent.mkdir(exist_ok=True)
            with replacing_file(kept) as temporary:
                temporary.write_bytes(data)
            newcomers[name] = here[content] = _record(ADDED + kept.name, label, content, kept)
    return newcomers, skipped


def within(root: Path, file: Path | str) -> str | None:
    """The id of a file that lies in a label's folder of the corpus; None for others."""
    relative = Path(os.path.relpath(os.path.realpath(file), os.path.realpath(root)))
    visible = not any(part.startswith(".") for part in relative.parts)
    return relative.as_posix() if len(relative.parts) > 1 and visible else None


def file_of(store: Store, manifest: Manifest, path: str) -> Path:
    """Where the picture of the id `path` is."""
    if path.startswith(ADDED):
        return store.added_folder / path.removeprefix(ADDED)
    return Path(manifest.image_root) / path


def _record(path: str, label: str, content: str, file: Path) -> Record:
    found, now = file.stat(), datetime.now(UTC).isoformat(timespec="seconds")
    return Record(path, label, content, found.st_size, found.st_mtime_ns, now, how(path, label))


def _file_name(content: str, image: Image.Image | Path | str) -> str:
    """A name that is one of a kind, and tells a person what it was."""
    name = b"picture.png" if isinstance(image, Image.Image) else os.fsencode(Path(image).name)
    return f"{content[:16]}-{name[-_LONGEST_NAME:].decode('utf-8', 'ignore')}"


def _as_png(image: Image.Image) -> bytes:
    stream = BytesIO()
    upright_rgb(image).save(stream, "PNG")
    return stream.getvalue()
