"""Undo an edit: the rows that it changed become what they were, unless they changed again since."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lmm_classifier.core.errors import ConflictError, UndoError
from lmm_classifier.data.places import Place, exists
from lmm_classifier.index.build.added_examples import file_of
from lmm_classifier.index.build.chosen_examples import require_some_remain
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import EditRow
from lmm_classifier.index.storage.editing.row_changes import RowChanges
from lmm_classifier.index.storage.editing.trash import Trash
from lmm_classifier.index.storage.records import Record
from lmm_classifier.index.storage.store import Store

logger: logging.Logger = logging.getLogger(__name__)

Encode = Callable[[Sequence[Place], Sequence[Record]], object]  # commits missing vectors of image files


@dataclass(frozen=True)
class Undo:
    """The undoing of one edit of `store`, whose rows are `rows`."""

    store: Store
    edit: EditRow
    rows: RowChanges

    @classmethod
    def of(cls, store: Store, number: int | None) -> Undo:
        """Find an edit, by default the newest one that is not undone; raise an error where it cannot be undone."""
        found = store.edit(number)
        if found is None:
            which = "no edit that can be undone" if number is None else f"no edit {number}"
            raise UndoError(f"The journal has {which}. Nothing was changed.")
        edit, rows = found
        if edit.undone_by:
            raise ConflictError(
                f"Edit {edit.id} is undone already, by edit {edit.undone_by}. Undo that one to do it again.", {}
            )
        if not rows:
            raise UndoError(
                f"Edit {edit.id} ({edit.kind}) cannot be undone: it made the index, or its rows in the journal were "
                "damaged."
            )
        return cls(store, edit, rows)

    def change(self, manifest: Manifest, encode: Encode) -> Change:
        """Return the change that undoes the edit.

        Raises ConflictError where an example changed since, and UndoError where an example cannot come back.
        """
        before, after = (
            {record.path: record for record in side.examples} for side in (self.rows.before, self.rows.after)
        )
        now = {path: record for path in {**before, **after} if (record := self.store.record(path)) is not None}
        conflicts = {
            path: (after[path].label if path in after else "", now[path].label if path in now else None)
            for path in {**after, **before}
            if not _is_unchanged(after.get(path), now.get(path))
        }
        if conflicts:
            raise ConflictError.of(conflicts)
        require_some_remain(self.store, len(after) - len(before))
        put = [_restored(record, now.get(path)) for path, record in before.items()]
        self._require_vectors(put, manifest, encode)
        self._warn_of_missing_images(put, now)
        return Change(
            put=put,
            drop=[path for path in after if path not in before],
            removed=[mark for mark in self.rows.before.removed if not self._is_example(*mark, before, after)],
            unmarked=self.rows.after.removed,
            dismissed=self.rows.before.dismissals,
            restored=self.rows.after.dismissals,
        )

    def manifest(self, manifest: Manifest) -> Manifest:
        """Return the manifest with the dataset folder before the edit, unless another one was named since."""
        roots = self.edit.image_roots
        return replace(manifest, image_root=roots[0]) if roots and manifest.image_root == roots[1] else manifest

    def _is_example(
        self, content_hash: str, path: str, before: Mapping[str, Record], after: Mapping[str, Record]
    ) -> bool:
        """Return whether a mark would make the next sync drop an example that is there after the undo."""
        record = before.get(path) if path in before or path in after else self.store.record(path)
        return record is not None and record.content_hash == content_hash

    def _require_vectors(self, records: Iterable[Record], manifest: Manifest, encode: Encode) -> None:
        """Encode images again whose vectors are of other encoders; raise UndoError where that is impossible."""
        missing = self._without_vectors(records, manifest)
        if missing:
            encode([self._file_of(manifest, record.path) for record in missing], missing)
            missing = self._without_vectors(missing, manifest)
        if missing:
            raise UndoError(
                f"Edit {self.edit.id} cannot be undone: {len(missing)} images have no vector of the encoders of the "
                f"index, and their files are missing or changed: {', '.join(record.path for record in missing[:3])}. "
                "Nothing was changed."
            )

    def _without_vectors(self, records: Iterable[Record], manifest: Manifest) -> list[Record]:
        records = list(records)
        hashes = {record.content_hash for record in records}
        known = set.intersection(*(self.store.encoded_among(space, hashes) for space in manifest.space_ids))
        return [record for record in records if record.content_hash not in known]

    def _file_of(self, manifest: Manifest, path: str) -> Place:
        """Return the image file of an example that is to come back; it may be in the trash."""
        file = file_of(self.store, self.manifest(manifest), path)
        if not path.startswith(ADDED) or exists(file):
            return file
        return Trash(self.store.folder).folder / path.removeprefix(ADDED)

    def _warn_of_missing_images(self, records: Iterable[Record], now: Mapping[str, Record]) -> None:
        manifest = self.store.manifest()
        if manifest is None or not manifest.has_images:
            return
        for record in records:
            if record.path not in now and not exists(self._file_of(manifest, record.path)):
                logger.warning("%s is an example again, but its image is missing", record.path)


def _is_unchanged(after: Record | None, now: Record | None) -> bool:
    if after is None or now is None:
        return after is now
    return (after.label, after.content_hash) == (now.label, now.content_hash)


def _restored(record: Record, now: Record | None) -> Record:
    """Return the former record, with what is known of its file now."""
    if now is None or now.content_hash != record.content_hash:
        return record
    return replace(record, size=now.size, stamp=now.stamp)
