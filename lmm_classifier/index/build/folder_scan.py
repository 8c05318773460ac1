"""What the files of a corpus hold: by their size and time where those are as remembered, else by reading them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from stat import S_ISREG

from PIL import __version__ as pillow_version

from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.progress import Progress, Skipped
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.image_folder import Corpus, Files
from lmm_classifier.data.images import accepted_formats
from lmm_classifier.embeddings.encode_files import Batch, LazyEncoder, encode_files
from lmm_classifier.index.build.sync_plan import Found
from lmm_classifier.index.storage.records import Seen
from lmm_classifier.index.storage.store import Store


@dataclass
class CorpusContents:
    """Looks through a corpus, committing the vectors of new pictures to the store as they come.

    A file that was refused is remembered by size, time and content, and not tried again until it, or what refused it
    (`judge`), changes.
    """

    store: Store
    corpus: Corpus
    encoder_id: str  # Fingerprint.space_id
    encoder: LazyEncoder
    images: ImagesConfig
    batch_size: int
    progress: Callable[[Progress], None] | None = None
    found: list[Found] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    encoded: int = 0

    def look(self) -> None:
        """Find the content of every file; `found` is then in the order of the ids."""
        known = self.store.encoded(self.encoder_id)
        remembered, bad = self._remembered()
        unread: list[Found] = []
        for example in self.corpus.examples:
            memory = remembered.get(example.path)
            one = self._as_on_disk(example)
            if memory is None or (memory.size, memory.mtime_ns) != (one.size, one.mtime_ns) or one.size < 0:
                unread.append(one)
            elif memory.kind:
                self._refuse(one, memory)
            elif memory.content_hash in known:
                self.found.append(replace(one, content_hash=memory.content_hash))
            else:
                unread.append(one)
        files = Files(self.corpus.root, unread)
        for batch in encode_files(files, self.encoder, self.images, self.batch_size, known | set(bad)):
            self._take(batch, unread, bad)
        self.found.sort(key=lambda one: one.path)

    def _remembered(self) -> tuple[dict[str, Seen], dict[str, Seen]]:
        """What is known of files by their ids, and of refused contents."""
        files = {one.path: Seen(one.path, one.size, one.mtime_ns, one.content_hash) for one in self.store.records()}
        judge = self._judge()
        seen = [one for one in self.store.seen() if one.judge in ("", judge)]
        files.update((one.path, one) for one in seen)
        return files, {one.content_hash: one for one in seen if one.kind}

    def _judge(self) -> str:
        limits = f"{self.images.max_pixels} {self.images.max_bytes}"
        return f"{limits} {','.join(accepted_formats())} {pillow_version} {self.encoder_id}"

    def _as_on_disk(self, example: Example) -> Found:
        """The file as it is now, not read yet; its size is -1 where it cannot be told."""
        try:
            stat = (self.corpus.root / example.path).stat()
        except (OSError, ValueError):
            return Found(example.path, example.label, "", -1, 0)  # reading it will tell why
        size = stat.st_size if S_ISREG(stat.st_mode) else -1
        return Found(example.path, example.label, "", size, stat.st_mtime_ns)

    def _take(self, batch: Batch, unread: list[Found], bad: dict[str, Seen]) -> None:
        memories = []
        for place, content in [*batch.encoded, *batch.known]:
            one = replace(unread[place], content_hash=content)
            if content in bad:
                memories.append(self._refuse(one, bad[content]))
            else:
                self.found.append(one)
                memories.append(Seen(one.path, one.size, one.mtime_ns, content))
        for refused in batch.refused:
            one = unread[refused.place]
            memory = Seen(one.path, one.size, one.mtime_ns, "", self._judge(), refused.kind, refused.reason)
            self._refuse(one, memory)
            if refused.content_hash is not None:  # what could not be read at all is tried again
                memories.append(replace(memory, content_hash=refused.content_hash))
        pairs = [(content, vector) for (_, content), vector in zip(batch.encoded, batch.vectors)]
        self.store.keep(self.encoder_id, pairs, memories)
        self.encoded += len(pairs)
        if self.progress is not None:
            done = len(self.found) + len(self.skipped)
            self.progress(Progress("indexing", done, len(self.corpus.examples), len(self.skipped)))

    def _refuse(self, one: Found, memory: Seen) -> Seen:
        self.skipped.append(Skipped(one.path, memory.reason, memory.kind))
        return replace(memory, path=one.path, size=one.size, mtime_ns=one.mtime_ns)
