"""Changes an index while it is in use: adds pictures, takes some out, corrects labels, follows a corpus folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from PIL import Image

from lmm_classifier import __version__
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CorpusError, IndexFileError
from lmm_classifier.core.progress import Progress, Skipped
from lmm_classifier.core.protocols import Encoder, SpaceRecipe
from lmm_classifier.data.image_folder import scan_corpus
from lmm_classifier.embeddings.encode_files import LazyEncoder, encode_files
from lmm_classifier.embeddings.registry import backends_of, open_encoder
from lmm_classifier.embeddings.whitening import restore
from lmm_classifier.index.build.added_examples import file_of, prepare, within
from lmm_classifier.index.build.reports import BuildReport, Changes, EditReport
from lmm_classifier.index.build.sync import Sync
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.index.storage.reader import read_store
from lmm_classifier.index.storage.records import Record, how
from lmm_classifier.index.storage.store import WAIT, Change, Store


class IndexEditor:
    """Edits the durable index at `path`; each edit is whole or not at all, and seen by the next `classify`.

    The encoder is that of `config`, loaded when a picture has to be encoded; one that is loaded already can be passed
    in. Another program that is changing the index is waited for, at most `wait` seconds.
    """

    def __init__(
        self, path: Path | str, config: PipelineConfig, encoder: Encoder | None = None, wait: float = WAIT
    ) -> None:
        self.path = Path(path)
        self._config, self._wait, self._is_to_be_opened = config, wait, encoder is None
        self._encoder = LazyEncoder(lambda: encoder or open_encoder(config.encoder))
        if self.path.suffix == ".npz":
            raise IndexFileError(
                f"{path} is a .npz file, which is not edited: make a durable index of it with `lmm-classifier import "
                f"{path} --output index`"
            )

    def sync(
        self,
        corpus: Path | str | None = None,
        batch_size: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> BuildReport:
        """Bring the index and a corpus folder together; without `corpus` the folder that it was built from.

        What is new is encoded, what is gone is dropped; renamed pictures and labels cost no encoding. Edits made by
        hand stay.
        """
        started = monotonic()
        with self._store() as store:
            manifest = _manifest(store)
            root = Path(corpus) if corpus is not None else Path(manifest.image_root)
            found = scan_corpus(root)
            report = Sync(
                store=store,
                corpus=found,
                fingerprint=manifest.fingerprint,
                encoder=self._checked(manifest),
                recipe=lambda: _recipe(store),
                config=self._config,
                batch_size=batch_size or self._config.encoder.batch_size,
                progress=progress,
            ).run()
        return replace(report, seconds=monotonic() - started, stale=stale(self.path))

    def add(self, images: Sequence[Image.Image | Path | str], labels: Sequence[str] | str) -> EditReport:
        """Teach pictures, given or as files, with a label each, or one label for all.

        Pictures from outside of the corpus folder are copied into the index. One that is there already is left as it
        is: under another label it is listed as `skipped`.
        """
        names = [labels] * len(images) if isinstance(labels, str) else list(labels)
        if len(names) != len(images):
            raise IndexFileError(f"{len(images)} pictures and {len(names)} labels: expected one label each, or one")
        if bad := [name for name in names if not name or "\0" in name]:
            raise IndexFileError(f"{bad[0]!r} is no label: expected some text")
        with self._store() as store:
            manifest = _manifest(store)
            limits = self._config.images.limits
            newcomers, skipped = prepare(store, manifest, images, names, limits)
            records, refused = self._encode(store, manifest, newcomers)
            if records:
                contents = [record.content_hash for record in records]
                store.commit(Change(records, welcome=contents), _edited(manifest))
            changes = Changes(added=tuple(record.path for record in records), encoded=len(records))
            return self._report(store, changes, [*skipped, *refused])

    def remove(self, examples: Iterable[str]) -> EditReport:
        """Take examples out by their ids; `sync` does not bring them back, `add` does."""
        with self._store() as store:
            manifest = _manifest(store)
            gone, skipped = _chosen(store, examples, manifest)
            if gone and len(gone) == len(store.records()):
                raise CorpusError(f"this would take out all {len(gone)} examples: an index needs one; nothing was done")
            if gone:
                out = [(record.content_hash, record.path) for record in gone]
                store.commit(Change([], [record.path for record in gone], removed=out), _edited(manifest))
            for record in gone:
                if record.path.startswith(ADDED):
                    (store.added_folder / record.path.removeprefix(ADDED)).unlink(missing_ok=True)
            return self._report(store, Changes(removed=tuple(record.path for record in gone)), skipped)

    def relabel(self, examples: Iterable[str], label: str) -> EditReport:
        """Give examples, by their ids, another label; `sync` keeps it while the file stays in its folder."""
        if not label or "\0" in label:
            raise IndexFileError(f"{label!r} is no label: expected some text")
        with self._store() as store:
            manifest = _manifest(store)
            chosen, skipped = _chosen(store, examples, manifest)
            others = [record for record in chosen if record.label != label]
            put = [replace(one, label=label, how=how(one.path, label)) for one in others]
            if put:
                store.commit(Change(put), _edited(manifest))
            moved = tuple((one.path, one.label, label) for one in others)
            return self._report(store, Changes(relabelled=moved), skipped)

    def refit(self) -> bool:
        """Fit the space to the examples as they are now; False where it was."""
        with self._store() as store:
            manifest = _manifest(store)
            if store.contents().space_is_current:
                return False
            hashes = sorted(record.content_hash for record in store.records())
            fingerprint = manifest.fingerprint
            space = _recipe(store).fit(store.rows(fingerprint.space_id, fingerprint.dim, hashes))
            store.commit(Change([], space=space), _edited(manifest))
            return True

    def examples_of(self, label: str) -> list[str]:
        """The ids of the examples of a label."""
        contents = read_store(self.path)
        return [path for path, name in zip(contents.paths, contents.labels) if name == label]

    def _store(self) -> Store:
        return Store(self.path, wait=self._wait)

    def _checked(self, manifest: Manifest) -> LazyEncoder:
        """The encoder, which must be the one that made the vectors."""

        def load() -> Encoder:
            if self._is_to_be_opened:  # known before gigabytes are loaded
                manifest.require_backend(backends_of(self._config.encoder.backend), str(self.path))
            encoder = self._encoder()
            manifest.require(encoder.fingerprint, str(self.path))
            return encoder

        return LazyEncoder(load)

    def _encode(
        self, store: Store, manifest: Manifest, newcomers: Mapping[str, Record]
    ) -> tuple[list[Record], list[Skipped]]:
        """Commit the vectors of newcomers that have none; those that cannot be encoded are no examples."""
        encoder_id, names, records = manifest.fingerprint.space_id, list(newcomers), list(newcomers.values())
        known = store.encoded(encoder_id)
        files = [file_of(store, manifest, record.path) for record in records]
        refused = {}
        size = self._config.encoder.batch_size
        for batch in encode_files(files, self._checked(manifest), self._config.images, size, known):
            store.keep(encoder_id, [(content, row) for (_, content), row in zip(batch.encoded, batch.vectors)])
            refused.update({one.place: one for one in batch.refused})
        for place in refused:
            if records[place].path.startswith(ADDED):
                files[place].unlink(missing_ok=True)
        skipped = [  # by the name that the person gave, not by that of the copy
            Skipped(names[place], one.reason.removeprefix(f"{files[place]}: "), one.kind)
            for place, one in refused.items()
        ]
        return [record for place, record in enumerate(records) if place not in refused], skipped

    def _report(self, store: Store, changes: Changes, skipped: Sequence[Skipped]) -> EditReport:
        count = 0 if store.state is None else int(store.state.manifest["count"])
        same = count - len(changes.added) - len(changes.relabelled)
        return EditReport(replace(changes, unchanged=same), count, tuple(skipped), stale(self.path))


def stale(path: Path) -> tuple[str, ...]:
    """What in the index was fitted to other examples than are in it now, and how to fit it again."""
    return stale_parts(read_store(path))


def _manifest(store: Store) -> Manifest:
    manifest = store.manifest()
    if manifest is None:
        raise IndexFileError(f"{store.folder} was never finished: run `lmm-classifier build` again, it goes on")
    return manifest


def _recipe(store: Store) -> SpaceRecipe:
    contents = store.contents()
    return restore(contents.manifest.space, contents.space_state).recipe


def _edited(manifest: Manifest) -> Manifest:
    return replace(manifest, program=__version__)


def _chosen(store: Store, examples: Iterable[str], manifest: Manifest) -> tuple[list[Record], list[Skipped]]:
    """The records of ids, or of the files of ids; what is no example is listed."""
    records = {record.path: record for record in store.records()}
    chosen: dict[str, Record] = {}
    skipped = []
    for name in examples:
        inside = name if name in records else within(Path(manifest.image_root), name)
        if inside is not None and inside in records:
            chosen[inside] = records[inside]
        else:
            skipped.append(Skipped(name, "no example of the index: give its id, as `classify` shows it", "not_there"))
    return list(chosen.values()), skipped
