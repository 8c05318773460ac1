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
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.progress import Progress, ProgressCallback, Skipped
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.image_inputs import ImageInput, check_inputs
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.index.build.added_examples import file_of, id_in_folder, prepare_examples
from lmm_classifier.index.build.configured_encoders import ConfiguredEncoders
from lmm_classifier.index.build.folder_scan import scan_dataset
from lmm_classifier.index.build.new_labels import checked_label, warn_if_alike
from lmm_classifier.index.build.reports import BuildReport, Changes, EditReport
from lmm_classifier.index.build.sync import Sync
from lmm_classifier.index.build.transform_fitters import fitters_of, known_fitters
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.formats import has_npz_name
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.index.storage.lock import WAIT
from lmm_classifier.index.storage.reader import read_store
from lmm_classifier.index.storage.records import Record, provenance
from lmm_classifier.index.storage.store import Change, Store


def sync_index(
    index_path: Path | str,
    image_root: Path | str | None = None,
    config: PipelineConfig | None = None,
    batch_size: int | None = None,
    progress: ProgressCallback | None = None,
    encoder: Encoder | Sequence[Encoder] | None = None,
    replace: bool = False,
) -> BuildReport:
    """Update a durable index from a dataset folder: new, removed, renamed, moved and replaced images.

    No image is encoded twice, and edits by hand stay.

    Args:
        index_path: a durable index (folder).
        image_root: the dataset folder; None is the one that the index was built from.
        config: names the encoders, which must be those of the index. One more is added: it encodes all images. None:
            SigLIP.
        batch_size: images per commit; None takes `encoder.batch_size` of `config`.
        progress: called after each batch; raise `Cancelled` in it to stop. The index is then unchanged, but the images
            that were encoded need not be encoded again.
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
    return IndexEditor(index_path, config or PipelineConfig(), encoder).sync(image_root, batch_size, progress, replace)


class IndexEditor:
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

    def __init__(
        self,
        path: Path | str,
        config: PipelineConfig,
        encoder: Encoder | Sequence[Encoder] | None = None,
        wait: float = WAIT,
    ) -> None:
        self.path = expand_home(path)
        self._config, self._wait = config, wait
        self._encoders = ConfiguredEncoders(config.encoders, encoder)
        if has_npz_name(self.path):
            raise IndexFileError(
                f"{path} is a .npz file, which cannot be edited. Make a durable index of it with "
                "`lmm-classifier import`."
            )

    def sync(
        self,
        dataset: Path | str | None = None,
        batch_size: int | None = None,
        progress: ProgressCallback | None = None,
        replace: bool = False,
    ) -> BuildReport:
        """Update the index from a dataset folder, as `sync_index` does."""
        started = monotonic()
        with self._store() as store:
            manifest = _manifest(store)
            encoders = self._encoders.for_sync(manifest, str(self.path))
            root = expand_home(dataset) if dataset is not None else Path(manifest.image_root)
            report = Sync(
                store=store,
                dataset=scan_dataset(root, self._config),
                fingerprints=encoders.fingerprints,
                encoders=encoders.lazy,
                transform_fitters=lambda: [
                    fitter if fitter is not None else encoder().transform_fitter
                    for fitter, encoder in zip(known_fitters(store.contents(), encoders.fingerprints), encoders.lazy)
                ],
                config=self._config,
                batch_size=batch_size or self._config.batch_size,
                progress=progress,
                replace=replace,
            ).run()
        return replaced(report, seconds=monotonic() - started, stale=stale(self.path))

    def add(
        self,
        images: Sequence[ImageInput],
        labels: Sequence[str] | str,
        progress: ProgressCallback | None = None,
    ) -> EditReport:
        """Add images as examples.

        An image that is in the index already is listed under `skipped`, and its label stays.

        Args:
            images: images of the kinds that `HybridClassifier.classify` takes. All but the files in the dataset folder
                are copied into the index. One that cannot be read or decoded is listed under `skipped`.
            labels: one label for each image, or one for all.
            progress: called after each batch; raise `Cancelled` in it to stop. No example is added then.
        """
        images = check_inputs(images)
        names = list(labels) if isinstance(labels, Iterable) and not isinstance(labels, str) else [labels] * len(images)
        if len(names) != len(images):
            raise IndexFileError(f"Got {len(images)} images and {len(names)} labels. Give one label each, or one.")
        names = [checked_label(name, self._config.unknown_label) for name in names]
        with self._store() as store:
            warn_if_alike(names, {record.label for record in store.records()})
            manifest = _manifest(store)
            new_records, skipped = prepare_examples(store, manifest, images, names, self._config.images.limits)
            records, failed = self._encode(store, manifest, new_records, progress)
            if records:
                hashes = [record.content_hash for record in records]
                store.commit(Change(records, readmitted=hashes), _edited(manifest))
            changes = Changes(added=tuple(record.path for record in records), encoded=len(records))
            return self._report(store, changes, [*skipped, *failed])

    def remove(self, examples: Iterable[str]) -> EditReport:
        """Remove examples by their ids. `sync` does not add them again, but `add` does."""
        with self._store() as store:
            manifest = _manifest(store)
            chosen, skipped = _chosen(store, examples, manifest)
            if chosen and len(chosen) == len(store.records()):
                raise DatasetError(
                    f"This would remove all {len(chosen)} examples, but an index needs one. Nothing was removed."
                )
            paths = [record.path for record in chosen]
            if chosen:
                removed = [(record.content_hash, record.path) for record in chosen]
                store.commit(Change([], paths, removed=removed), _edited(manifest))
            for path in paths:
                if path.startswith(ADDED):
                    file_of(store, manifest, path).unlink(missing_ok=True)
            return self._report(store, Changes(removed=tuple(paths)), skipped)

    def relabel(self, examples: Iterable[str], label: str) -> EditReport:
        """Change the label of examples by their ids. `sync` does not undo it while the file stays in its folder."""
        label = checked_label(label, self._config.unknown_label)
        with self._store() as store:
            warn_if_alike([label], {record.label for record in store.records()})
            manifest = _manifest(store)
            chosen, skipped = _chosen(store, examples, manifest)
            former = [record for record in chosen if record.label != label]
            records = [replaced(record, label=label, provenance=provenance(record.path, label)) for record in former]
            if records:
                store.commit(Change(records), _edited(manifest))
            relabeled = tuple((record.path, record.label, label) for record in former)
            return self._report(store, Changes(relabeled=relabeled), skipped)

    def refit(self) -> bool:
        """Fit the transform to the current examples; return whether that was necessary."""
        with self._store() as store:
            manifest = _manifest(store)
            if store.contents().transforms_are_current:
                return False
            hashes = sorted(record.content_hash for record in store.records())
            transforms = [
                fitter.fit(store.rows(fingerprint.space_id, fingerprint.dim, hashes))
                for fitter, fingerprint in zip(fitters_of(store.contents()), manifest.fingerprints, strict=True)
            ]
            store.commit(Change([], transforms=transforms), _edited(manifest))
            return True

    def examples_of(self, label: str) -> list[str]:
        """Return the ids of the examples of a label."""
        contents, label = read_store(self.path), normal_label(label)
        return [path for path, name in zip(contents.paths, contents.labels) if name == label]

    def _store(self) -> Store:
        return Store(self.path, wait=self._wait)

    def _encode(
        self, store: Store, manifest: Manifest, new_records: Mapping[str, Record], progress: ProgressCallback | None
    ) -> tuple[list[Record], list[Skipped]]:
        """Commit missing vectors of new images; return the records that have one, and the images that failed."""
        names, records = list(new_records), list(new_records.values())
        encoders = self._encoders.for_edit(manifest, str(self.path))
        known = [store.encoded_hashes(space) for space in manifest.space_ids]
        files = [file_of(store, manifest, record.path) for record in records]
        failed = {}
        done, encoding = 0, Encoding(encoders, self._config.images, self._config.batch_size, known)
        for batch in encode_files(files, encoding):
            store.put_vectors({space: batch.pairs(place) for place, space in enumerate(manifest.space_ids)})
            failed.update({image.position: image for image in batch.failed})
            done += len(batch)
            if progress is not None:
                progress(Progress("adding", done, len(files), len(failed)))
        for position in failed:
            if records[position].path.startswith(ADDED):
                files[position].unlink(missing_ok=True)
        skipped = [  # under the given name, not under that of the copy
            Skipped(names[position], image.reason.removeprefix(f"{files[position]}: "), image.kind)
            for position, image in failed.items()
        ]
        return [record for position, record in enumerate(records) if position not in failed], skipped

    def _report(self, store: Store, changes: Changes, skipped: Sequence[Skipped]) -> EditReport:
        count = 0 if store.state is None else int(store.state.manifest["count"])
        unchanged = count - len(changes.added) - len(changes.relabeled)
        return EditReport(replaced(changes, unchanged=unchanged), count, tuple(skipped), stale(self.path))


def stale(path: Path) -> tuple[str, ...]:
    """Name the parts of the index that were fitted to other examples, and say how to fit them again."""
    return stale_parts(read_store(path))


def _manifest(store: Store) -> Manifest:
    manifest = store.manifest()
    if manifest is None:
        raise IndexFileError(
            f"The build of {store.folder} did not finish. Run `lmm-classifier build` again to resume it."
        )
    return manifest


def _edited(manifest: Manifest) -> Manifest:
    return replaced(manifest, program=__version__)


def _chosen(store: Store, examples: Iterable[str], manifest: Manifest) -> tuple[list[Record], list[Skipped]]:
    """Return the records of ids, or of the files of ids; anything else is skipped."""
    if isinstance(examples, str):
        raise DatasetError(f"Expected the ids of several examples, got only {examples!r}. Put it in a list.")
    records = {record.path: record for record in store.records()}
    chosen: dict[str, Record] = {}
    skipped = []
    for name in examples:
        path = name if name in records else id_in_folder(Path(manifest.image_root), expand_home(name))
        if path is not None and path in records:
            chosen[path] = records[path]
        else:
            skipped.append(
                Skipped(name, "not an example of the index; give its id as `classify` shows it", "not_there")
            )
    return list(chosen.values()), skipped
