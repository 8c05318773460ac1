"""The history of an index: its journal, undoing, and the findings that a person dismissed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace as replaced
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from lmm_classifier import __version__
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import DatasetError, IndexFileError
from lmm_classifier.core.index_location import index_location
from lmm_classifier.core.labels import normal_label
from lmm_classifier.core.progress import Progress, ProgressCallback, Skipped
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.places import Place
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.encoded_batch import FailedImage
from lmm_classifier.index.build.configured_encoders import ConfiguredEncoders
from lmm_classifier.index.build.reports import Changes, Edit, EditReport, changes_of
from lmm_classifier.index.build.undo import Undo
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.formats import editable_path
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.settings.remembered import config_of_index
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import NewEdit, edit_time
from lmm_classifier.index.storage.editing.purge import PurgeReport
from lmm_classifier.index.storage.editing.stored_rows import opened_rows
from lmm_classifier.index.storage.lock import WAIT
from lmm_classifier.index.storage.records import Record
from lmm_classifier.index.storage.store import Store


class EditHistory:
    """The edits of a durable index, which can be listed, undone and forgotten; the base of `IndexEditor`."""

    def __init__(
        self,
        path: Path | str,
        config: PipelineConfig | None = None,
        encoder: Encoder | Sequence[Encoder] | None = None,
        wait: float = WAIT,
    ) -> None:
        self.path: Path = editable_path(index_location(path))
        self._config: PipelineConfig = config or config_of_index(self.path)
        self._wait = wait
        self._encoders = ConfiguredEncoders(self._config, encoder)

    def dismiss(self, findings: Iterable[Dismissal], *, note: str = "", origin: str = "") -> EditReport:
        """Call findings of an audit right: later audits leave them out, until an image or a label in them changes.

        Each finding of an `Audit` has its `dismissal`.
        """
        now = edit_time(datetime.now(UTC))
        with self._store() as store:
            dismissed = [replaced(finding, time=now) for finding in findings]
            edit = self._commit(store, Change([], dismissed=dismissed), NewEdit("dismiss", origin, note))
            return edit_report(store, _changes(store, edit), (), edit)

    def restore(self, findings: Iterable[Dismissal], *, note: str = "", origin: str = "") -> EditReport:
        """Take dismissals back: later audits list these findings again."""
        with self._store() as store:
            edit = self._commit(store, Change([], restored=list(findings)), NewEdit("restore", origin, note))
            return edit_report(store, _changes(store, edit), (), edit)

    def dismissals(self) -> list[Dismissal]:
        """Return the dismissed findings, the oldest first."""
        with opened_rows(self.path) as rows:
            return rows.dismissals()

    def findings_about(self, finding: str, examples: Iterable[str]) -> list[Dismissal]:
        """Return what `dismiss` takes for examples, by their ids and a kind of `FINDING_KINDS`.

        Each label and each outlier is one finding; all copies together are one. Raises DatasetError for an id that is
        no example.
        """
        pairs = []
        with opened_rows(self.path) as rows:
            for path in examples:
                record = rows.record(path)
                if record is None:
                    raise DatasetError(f"{path!r} is no example of {self.path}. Nothing was changed.")
                pairs.append((record.content_hash, record.label))
        groups = [pairs] if finding == "duplicates" else [[pair] for pair in pairs]
        return [Dismissal.of(finding, group) for group in groups]

    def ids_of_contents(self, hashes: Iterable[str]) -> dict[str, list[str]]:
        """Return the ids of the examples with each of these contents."""
        with opened_rows(self.path) as rows:
            return {content_hash: rows.ids_of_content(content_hash) for content_hash in hashes}

    def edits(self, limit: int = 100, before: int | None = None) -> list[Edit]:
        """Return the newest edits of the journal, or the newest ones before an id; the newest first."""
        with opened_rows(self.path) as rows:
            return [Edit.of(*edit) for edit in rows.edits(limit, before)]

    def last_edit(self) -> Edit | None:
        """Return the edit that `undo` without an id would undo, None where nothing is left to undo."""
        with opened_rows(self.path) as rows:
            found = rows.edit()
            return None if found is None else Edit.of(*found)

    def count_edits(self, before: int | None = None) -> int:
        """Return the number of edits in the journal, or of those before an id."""
        with opened_rows(self.path) as rows:
            return rows.count_edits(before)

    def undo(self, edit: int | None = None, *, note: str = "", origin: str = "") -> EditReport:
        """Undo an edit, by default the newest one that is not undone and is no undo itself.

        That is an edit too, and undoing it, a `redo`, does the first one again. The examples, the marks of removed
        ones, their times and their images become what they were. A build or import that made the
        index cannot be undone.

        Raises:
            ConflictError: if an example changed since; it names these. Nothing is changed then.
            IndexFileError: if there is no such edit, or an image cannot come back.
            DatasetError: if no example would remain.
        """
        with self._store() as store:
            undo = Undo.of(store, edit)
            manifest = require_manifest(store)
            change = undo.change(manifest, partial(self._encode, store, manifest))
            kind = "redo" if undo.edit.kind == "undo" else "undo"
            entry = NewEdit(kind, origin, note, undo.edit.id)
            number = store.commit(change, replaced(undo.manifest(manifest), program=__version__), entry)
            return edit_report(store, _changes(store, number), (), number)

    def purge(self, before: datetime) -> PurgeReport:
        """Forget the edits before a time, which is local if it has no zone, and delete their images in the trash.

        They cannot be undone any more. Examples, removed marks and dismissals stay.
        """
        with self._store() as store:
            return store.purge(before)

    def examples_of(self, label: str) -> list[str]:
        """Return the ids of the examples of a label."""
        with opened_rows(self.path) as rows:
            return [record.path for record in rows.records_of_label(normal_label(label))]

    def _store(self) -> Store:
        return Store(self.path, wait=self._wait)

    def _commit(self, store: Store, change: Change, edit: NewEdit) -> int | None:
        """Commit a change, unless it is empty."""
        if not (change.put or change.drop or change.dismissed or change.restored):
            return None
        return store.commit(change, replaced(require_manifest(store), program=__version__), edit)

    def _encode(
        self,
        store: Store,
        manifest: Manifest,
        files: Sequence[Place],
        records: Sequence[Record],
        progress: ProgressCallback | None = None,
    ) -> dict[int, FailedImage]:
        """Commit the missing vectors of image files; return those that failed by their position."""
        encoders = self._encoders.for_edit(manifest, str(self.path))
        hashes = [record.content_hash for record in records]
        known = [store.encoded_among(space, hashes) for space in manifest.space_ids]
        failed: dict[int, FailedImage] = {}
        done, encoding = 0, Encoding(encoders, self._config.images, self._config.batch_size, known)
        for batch in encode_files(files, encoding):
            store.put_vectors({space: batch.pairs(place) for place, space in enumerate(manifest.space_ids)})
            failed.update({image.position: image for image in batch.failed})
            done += len(batch)
            if progress is not None:
                progress(Progress("adding", done, len(files), len(failed)))
        return failed


def edit_report(store: Store, changes: Changes, skipped: Sequence[Skipped], edit: int | None) -> EditReport:
    """Return the report of an edit that is committed; `edit` is its id, None where nothing changed."""
    count = 0 if store.state is None else int(store.state.manifest["count"])
    unchanged = count - len(changes.added) - len(changes.relabeled)
    return EditReport(replaced(changes, unchanged=unchanged), count, tuple(skipped), store.stale_parts(), edit)


def require_manifest(store: Store) -> Manifest:
    """Return the manifest of an index; raise IndexFileError if its first build did not finish."""
    manifest = store.manifest()
    if manifest is None:
        raise IndexFileError(
            f"The build of {store.folder} did not finish. Run `lmm-classifier build` again to resume it."
        )
    return manifest


def _changes(store: Store, edit: int | None) -> Changes:
    found = None if edit is None else store.edit(edit)
    return Changes() if found is None else changes_of(found[1], found[0].images)
