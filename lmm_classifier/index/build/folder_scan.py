"""Contents of the files of a dataset: known from size and times, or read and encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISREG

from PIL import __version__ as pillow_version

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import DatasetError, LmmClassifierError
from lmm_classifier.core.labels import unknown_clash
from lmm_classifier.core.progress import Progress, ProgressCallback, Skipped
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.dataset import Dataset, Files
from lmm_classifier.data.images import accepted_formats
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.encoded_batch import EncodedBatch
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.index.build.sync_plan import ScannedFile
from lmm_classifier.index.storage.records import KnownFile, file_stamp
from lmm_classifier.index.storage.store import Store


def scan_dataset(source: DatasetSpec | Path | str, config: PipelineConfig) -> Dataset:
    """Find the images of a source whose labels are to be those of an index.

    Raises:
        DatasetError: the source cannot be used, or one of its labels cannot be told from that of unknown images.
    """
    spec = DatasetSpec.of(source)
    dataset = open_dataset(spec, config.images)
    if message := unknown_clash({example.label for example in dataset.examples}, config.unknown_label):
        raise DatasetError(f"dataset {spec.source}: {message}")
    return dataset


@dataclass
class FolderScan:
    """Scan of a dataset that commits the vectors of new images to the store, batch by batch.

    A file whose bytes prove that it cannot be used is stored with its size, stamp and content. It is not tried again
    until the file changes, or the limits, formats or encoder that rejected it (`KnownFile.decided_by`). A failure that
    may pass, such as a lack of memory, is not stored.
    """

    store: Store
    dataset: Dataset
    space_ids: Sequence[str]  # Fingerprint.space_id of each encoder
    encoders: Sequence[LazyEncoder]
    images: ImagesConfig
    batch_size: int
    progress: ProgressCallback | None = None
    files: list[ScannedFile] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    encoded: int = 0
    encoded_by: set[int] = field(default_factory=set)  # places of the encoders that had to encode an image

    def run(self) -> None:
        """Find the content of every file; `files` then holds all images, ascending by id."""
        encoded_by = [self.store.encoded_hashes(space) for space in self.space_ids]
        encoded_hashes = set.intersection(*encoded_by)
        known_files, rejected = self._known()
        unread: list[ScannedFile] = []
        for example in self.dataset.examples:
            known = known_files.get(example.path)
            file = self._stat(example)
            is_same = known is not None and (known.size, known.stamp) == (file.size, file.stamp)
            if known is None or not is_same or file.size < 0 or not file.stamp:
                unread.append(file)
            elif known.kind:
                self._reject(file, known)
            elif known.content_hash in encoded_hashes:
                self.files.append(replace(file, content_hash=known.content_hash))
            else:
                unread.append(file)
        paths = Files(self.dataset.root, unread)
        decided = [hashes | set(rejected) for hashes in encoded_by]
        for batch in encode_files(paths, Encoding(self.encoders, self.images, self.batch_size, decided)):
            self._commit(batch, unread, rejected)
        self.files.sort(key=lambda file: file.path)

    def _known(self) -> tuple[dict[str, KnownFile], dict[str, KnownFile]]:
        """Return the known files by id, and the rejected ones by content hash."""
        by_path = {
            record.path: KnownFile(record.path, record.size, record.stamp, record.content_hash)
            for record in self.store.records()
        }
        decided_by = self._decided_by()
        known = [file for file in self.store.known_files() if file.decided_by in ("", decided_by)]
        by_path.update((file.path, file) for file in known)
        return by_path, {file.content_hash: file for file in known if file.kind}

    def _decided_by(self) -> str:
        images = self.images
        limits = f"{images.max_pixels} {images.max_bytes} {images.max_seconds} {images.max_memory}"
        return f"{limits} {','.join(accepted_formats())} {pillow_version} {' '.join(self.space_ids)}"

    def _stat(self, example: Example) -> ScannedFile:
        """Return the file with its current size and stamp, without reading it; size -1 if they are unknown."""
        try:
            stat = (self.dataset.root / example.path).stat()
        except (OSError, ValueError, LmmClassifierError):
            return ScannedFile(example.path, example.label, "", -1, 0)  # reading it will give the reason
        size = stat.st_size if S_ISREG(stat.st_mode) else -1
        return ScannedFile(example.path, example.label, "", size, file_stamp(stat))

    def _commit(self, batch: EncodedBatch, unread: list[ScannedFile], rejected: dict[str, KnownFile]) -> None:
        known = []
        for encoded in [*batch.encoded, *batch.known]:
            file = replace(unread[encoded.position], content_hash=encoded.content_hash)
            if file.content_hash in rejected:
                known.append(self._reject(file, rejected[file.content_hash]))
            else:
                self.files.append(file)
                known.append(KnownFile(file.path, file.size, file.stamp, file.content_hash))
        for failed in batch.failed:
            file = unread[failed.position]
            reason = KnownFile(file.path, file.size, file.stamp, "", self._decided_by(), failed.kind, failed.reason)
            self._reject(file, reason)
            if failed.content_hash is not None and failed.proven:  # all others are tried again next time
                known.append(replace(reason, content_hash=failed.content_hash))
        vectors = {space: batch.pairs(place) for place, space in enumerate(self.space_ids)}
        times = {space: (new.seconds, len(new.places)) for space, new in zip(self.space_ids, batch.new)}
        self.store.put_vectors(vectors, known, times if batch.encoded else None)
        self.encoded += len(batch.encoded)
        self.encoded_by |= batch.with_new
        if self.progress is not None:
            done = len(self.files) + len(self.skipped)
            self.progress(Progress("indexing", done, len(self.dataset.examples), len(self.skipped)))

    def _reject(self, file: ScannedFile, known: KnownFile) -> KnownFile:
        self.skipped.append(Skipped(file.path, known.reason, known.kind))
        return replace(known, path=file.path, size=file.size, stamp=file.stamp)
