"""Change an index while it is in use: add, remove and relabel images, and follow a dataset folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace as replaced
from pathlib import Path
from time import monotonic

from lmm_classifier import __version__
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import DatasetError, IndexFileError
from lmm_classifier.core.labels import normal_label
from lmm_classifier.core.progress import ProgressCallback, ProgressOption, Skipped
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.image_inputs import ImageInput, check_inputs
from lmm_classifier.data.places import file_name
from lmm_classifier.data.readers.dataset_spec import DatasetSpec, moved
from lmm_classifier.index.build.added_examples import file_of, prepare_examples
from lmm_classifier.index.build.chosen_examples import choose_examples, require_expected, require_some_remain
from lmm_classifier.index.build.edit_history import EditHistory, edit_report, require_manifest
from lmm_classifier.index.build.folder_scan import scan_dataset
from lmm_classifier.index.build.new_labels import check_new, checked_label
from lmm_classifier.index.build.replacement import require_images
from lmm_classifier.index.build.reports import BuildReport, Changes, EditReport
from lmm_classifier.index.build.sync import Sync
from lmm_classifier.index.build.transform_fitters import fitters_of, known_fitters
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import NewEdit
from lmm_classifier.index.storage.records import Record, provenance
from lmm_classifier.index.storage.store import Store


def sync_index(
    index_path: Path | str,
    image_root: DatasetSpec | Path | str | None = None,
    config: PipelineConfig | None = None,
    batch_size: int | None = None,
    progress: ProgressOption | None = None,
    encoder: Encoder | Sequence[Encoder] | None = None,
    replace: bool = False,
) -> BuildReport:
    """Update a durable index from a dataset folder: new, removed, renamed, moved and replaced images.

    No image is encoded twice, and edits by hand stay.

    Args:
        index_path: a durable index (folder).
        image_root: the dataset; None is the one that the index was built from. A path or a URL alone keeps where the
            labels were found.
        config: names the encoders, which must be those of the index. One more is added: it encodes all images. None:
            what the index remembers.
        batch_size: images per commit; None takes `encoder.batch_size` of `config`.
        progress: True shows it; a function is called after each batch, and may raise `Cancelled` to stop. The index is
            then unchanged, but the images that were encoded need not be encoded again.
        encoder: an encoder that is loaded already, or several; None opens the configured ones when they are needed.
        replace: let more than half of the images be removed.

    Raises:
        DatasetError: if the dataset does not exist, or if no image would remain.
        IndexFileError: if there is no index, or if another program is changing it.
        IndexMismatchError: if another encoder built the index.
        ReplacementError: if more than half of the images from the dataset are not there any more.

    Example:
        >>> from lmm_classifier import PipelineConfig, build_index_from_directory, sync_index
        >>> config = PipelineConfig.offline()
        >>> report = build_index_from_directory("images", "synced-index", config=config)
        >>> sync_index("synced-index", config=config).changes.any
        False
    """
    return IndexEditor(index_path, config, encoder).sync(image_root, batch_size, progress, replace)


class IndexEditor(EditHistory):
    """Edits a durable index.

    Each edit is atomic, and an open classifier uses it from its next call on. The encoders of `config` are loaded when
    an image must be encoded, unless `encoder` gives them. If another program is changing the index, an edit waits for
    it, at most `wait` seconds.

    Example:
        >>> from lmm_classifier import IndexEditor, PipelineConfig, build_index_from_directory
        >>> config = PipelineConfig.offline()
        >>> report = build_index_from_directory("images", "edited-index", config=config)
        >>> editor = IndexEditor("edited-index", config)
        >>> stripes = editor.examples_of("stripes")
        >>> report = editor.relabel(stripes[:1], "gingham")
        >>> [(former, label) for _, former, label in report.changes.relabeled]
        [('stripes', 'gingham')]
        >>> report = editor.relabel(stripes[:1], "stripes")
        >>> editor.examples_of("stripes") == stripes
        True
    """

    def sync(
        self,
        dataset: DatasetSpec | Path | str | None = None,
        batch_size: int | None = None,
        progress: ProgressOption | None = None,
        replace: bool = False,
        *,
        note: str = "",
        origin: str = "",
    ) -> BuildReport:
        """Update the index from a dataset folder, as `sync_index` does."""
        started = monotonic()
        with self._store() as store, displayed(progress) as show:
            manifest = require_manifest(store)
            require_images(manifest, str(self.path))
            encoders = self._encoders.for_sync(manifest, str(self.path))
            source = moved(DatasetSpec.from_stored(manifest.image_root), dataset)
            report = Sync(
                store=store,
                dataset=scan_dataset(source, self._config),
                fingerprints=encoders.fingerprints,
                encoders=encoders.lazy,
                transform_fitters=lambda: [
                    fitter if fitter is not None else encoder().transform_fitter
                    for fitter, encoder in zip(known_fitters(store.contents(), encoders.fingerprints), encoders.lazy)
                ],
                config=self._config,
                batch_size=batch_size or self._config.batch_size,
                progress=show,
                replace=replace,
                edit=NewEdit("sync", origin, note),
                settings=encoders.settings,
            ).run()
            store.contents()  # makes the derived files
            return replaced(report, seconds=monotonic() - started, stale=store.stale_parts())

    def add(
        self,
        images: Sequence[ImageInput],
        labels: Sequence[str] | str,
        progress: ProgressOption | None = None,
        *,
        note: str = "",
        origin: str = "",
    ) -> EditReport:
        """Add images as examples.

        An image that is in the index already is listed under `skipped`, and its label stays.

        Args:
            images: images of the kinds that `HybridClassifier.classify` takes. All but the files in the dataset folder
                are copied into the index. One that cannot be read or decoded is listed under `skipped`.
            labels: one label for each image, or one for all.
            progress: True shows it; a function is called after each batch, and may raise `Cancelled` to stop. No
                example is added then.
            note: why; stored in the journal.
            origin: by whom or by which program; stored in the journal.
        """
        images = check_inputs(images)
        names = list(labels) if isinstance(labels, Iterable) and not isinstance(labels, str) else [labels] * len(images)
        if len(names) != len(images):
            raise IndexFileError(f"Got {len(images)} images and {len(names)} labels. Give one label each, or one.")
        names = [checked_label(name, self._config.unknown_label) for name in names]
        with self._store() as store, displayed(progress) as show:
            check_new(names, store.label_counts())
            manifest = require_manifest(store)
            new_records, skipped = prepare_examples(store, manifest, images, names, self._config.images.limits)
            records, failed = self._encode_added(store, manifest, new_records, show)
            hashes = [record.content_hash for record in records]
            edit = self._commit(store, Change(records, readmitted=hashes), NewEdit("add", origin, note))
            changes = Changes(added=tuple(record.path for record in records), encoded=len(records))
            return edit_report(store, changes, [*skipped, *failed], edit)

    def remove(
        self, examples: Iterable[str], *, expect: Mapping[str, str] | None = None, note: str = "", origin: str = ""
    ) -> EditReport:
        """Remove examples by their ids. `sync` does not add them again, but `add` does; `expect` as in `relabel`."""
        with self._store() as store:
            require_expected(store, expect)
            chosen, skipped = choose_examples(store, examples, require_manifest(store))
            require_some_remain(store, len(chosen))
            paths = [record.path for record in chosen]
            removed = [(record.content_hash, record.path) for record in chosen]
            edit = self._commit(store, Change([], paths, removed=removed), NewEdit("remove", origin, note))
            return edit_report(store, Changes(removed=tuple(paths)), skipped, edit)

    def relabel(
        self,
        examples: Iterable[str],
        label: str,
        *,
        expect: Mapping[str, str] | None = None,
        note: str = "",
        origin: str = "",
    ) -> EditReport:
        """Change the label of examples by their ids. `sync` does not undo it while the file stays in its folder.

        Args:
            examples: ids.
            label: the new label.
            expect: for ids the labels that the caller saw. Raises ConflictError, and changes nothing, where one
                differs now.
            note: why; stored in the journal.
            origin: by whom or by which program; stored in the journal.
        """
        label = checked_label(label, self._config.unknown_label)
        with self._store() as store:
            require_expected(store, expect)
            chosen, skipped = choose_examples(store, examples, require_manifest(store))
            check_new([label], store.label_counts())
            return self._relabeled(store, chosen, label, skipped, NewEdit("relabel", origin, note))

    def rename_label(self, label: str, new: str, *, note: str = "", origin: str = "") -> EditReport:
        """Give a label another name; where that is a label already, merge the two. Dismissals follow the name.

        Raises DatasetError if no example has the label.
        """
        label, new = normal_label(label), checked_label(new, self._config.unknown_label)
        with self._store() as store:
            records = store.records_of_label(label)
            if not records:
                raise DatasetError(f"No example has the label {label!r}. Nothing was changed.")
            check_new({new} - {label}, set(store.label_counts()) - {label})
            return self._relabeled(store, records, new, (), NewEdit("rename_label", origin, note), former=label)

    def refit(self) -> bool:
        """Fit the transform to the current examples; return whether that was necessary."""
        with self._store() as store:
            manifest = require_manifest(store)
            if store.contents().transforms_are_current:
                return False
            hashes = sorted(record.content_hash for record in store.records())
            transforms = [
                fitter.fit(store.rows(fingerprint.space_id, fingerprint.dim, hashes))
                for fitter, fingerprint in zip(fitters_of(store.contents()), manifest.fingerprints, strict=True)
            ]
            store.commit(Change([], transforms=transforms), replaced(manifest, program=__version__))
            return True

    def _encode_added(
        self, store: Store, manifest: Manifest, new_records: Mapping[str, Record], progress: ProgressCallback | None
    ) -> tuple[list[Record], list[Skipped]]:
        """Commit missing vectors of new images; return the records that have one, and the images that failed."""
        names, records = list(new_records), list(new_records.values())
        files = [file_of(store, manifest, record.path) for record in records]
        copies = {
            place: store.added_folder / file_name(files[place])
            for place, record in enumerate(records)
            if record.path.startswith(ADDED)
        }
        try:
            failed = self._encode(store, manifest, files, records, progress)
        except BaseException:  # no example will refer to the copies
            for copy in copies.values():
                copy.unlink(missing_ok=True)
            raise
        for place in copies.keys() & failed.keys():
            copies[place].unlink(missing_ok=True)
        skipped = [  # under the given name, not under that of the copy
            Skipped(names[position], image.reason.removeprefix(f"{files[position]}: "), image.kind)
            for position, image in failed.items()
        ]
        return [record for position, record in enumerate(records) if position not in failed], skipped

    def _relabeled(
        self,
        store: Store,
        chosen: Iterable[Record],
        label: str,
        skipped: Sequence[Skipped],
        edit: NewEdit,
        former: str | None = None,
    ) -> EditReport:
        """Give examples a label; `former` is the name of a label that is renamed, in dismissals too."""
        records = [record for record in chosen if record.label != label]
        current = [replaced(record, label=label, provenance=provenance(record.path, label)) for record in records]
        old = [] if former is None else [d for d in store.dismissals() if d.renamed(former, label) != d]
        new = [] if former is None else [d.renamed(former, label) for d in old]
        number = self._commit(store, Change(current, dismissed=new, restored=old), edit)
        changes = Changes(relabeled=tuple((record.path, record.label, label) for record in records))
        return edit_report(store, changes, skipped, number)
