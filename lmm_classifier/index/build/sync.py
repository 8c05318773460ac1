"""Update a durable index from a dataset folder: every new image is encoded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from lmm_classifier import __version__
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import DatasetError, ReplacementError
from lmm_classifier.core.fingerprint import Fingerprint, encoder_names
from lmm_classifier.core.labels import alike_warnings
from lmm_classifier.core.progress import ProgressCallback, Skipped
from lmm_classifier.core.protocols import Transform, TransformFitter
from lmm_classifier.data.dataset import Dataset
from lmm_classifier.data.image_folder import duplicate_warnings
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.index.build.folder_scan import FolderScan
from lmm_classifier.index.build.replacement import require_images, require_most_remain
from lmm_classifier.index.build.reports import BuildReport, Changes
from lmm_classifier.index.build.sync_plan import Plan, plan_sync
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import NewEdit
from lmm_classifier.index.storage.records import Record, contents_digest
from lmm_classifier.index.storage.store import Store


@dataclass
class Sync:
    """One update of `store` from `dataset`, with vectors of the encoders `fingerprints`."""

    store: Store
    dataset: Dataset
    fingerprints: Sequence[Fingerprint]
    encoders: Sequence[LazyEncoder]
    transform_fitters: Callable[[], Sequence[TransformFitter]]
    config: PipelineConfig
    batch_size: int
    progress: ProgressCallback | None = None
    replace: bool = False  # whether most of the examples may be removed
    encoded_by: set[int] = field(default_factory=set)  # places of the encoders that had to encode an image
    edit: NewEdit | None = None  # what the journal says of it
    settings: Mapping[str, Any] = field(default_factory=dict)  # to remember; empty: those of before, if they still hold

    def run(self) -> BuildReport:
        """Encode images without a vector, then change the examples in one commit.

        Raises DatasetError if no image remains, because an index needs at least one example, and ReplacementError if
        most images would be removed and `replace` is not set.
        """
        require_images(self.store.manifest(), str(self.store.folder))
        self.store.begin(self.dataset.source, self.config.retrieval.stored_dtype)
        records = self.store.records()
        scan = FolderScan(
            self.store, self.dataset, self._space_ids, self.encoders, self.config.images, self.batch_size, self.progress
        )
        scan.run()
        added, lost = self._added_by_hand([record for record in records if record.path.startswith(ADDED)])
        from_folder = [record for record in records if not record.path.startswith(ADDED)]
        skipped = [*scan.skipped, *lost]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        may_exist = self._may_exist(from_folder, skipped)
        plan = plan_sync([*added, *from_folder], scan.files, self.store.removed(), may_exist, now)
        if not plan.final:
            raise nothing_indexed(self.dataset, skipped)
        self._require_most_remain(from_folder, plan)
        scan.files.clear()  # the plan is complete, and fitting the transform needs the memory
        plan.drop += [image.path for image in lost]
        edit = self._commit(plan, now)
        examples = [Example(record.path, record.label) for record in plan.final]
        hashes = [record.content_hash for record in plan.final]
        changes = replace(plan.changes, encoded=scan.encoded)
        report = make_report(
            self.dataset, str(self.store.folder), self.fingerprints, examples, hashes, skipped, changes
        )
        names, places = encoder_names(self.fingerprints), sorted(self.encoded_by | scan.encoded_by)
        return replace(
            report,
            warnings=(*report.warnings, *_vanished_labels(from_folder, plan)),
            encoded_by=tuple(names[place] for place in places),
            edit=edit,
        )

    @property
    def _space_ids(self) -> list[str]:
        return [fingerprint.space_id for fingerprint in self.fingerprints]

    def _require_most_remain(self, from_folder: Sequence[Record], plan: Plan) -> None:
        if self.replace:
            return
        try:
            former, current = ([record.content_hash for record in part] for part in (from_folder, plan.final))
            require_most_remain(former, current, self.store.folder, self.dataset.source)
        except ReplacementError:
            self.store.touch([])  # this sync is over, not interrupted
            raise

    def _added_by_hand(self, records: list[Record]) -> tuple[list[Record], list[Skipped]]:
        """Return the examples added by hand that have all vectors; where one is missing, their image is encoded again.

        Raises DatasetError for a failure that may pass: the example would be lost.
        """
        known = [self.store.encoded_hashes(space) for space in self._space_ids]
        missing = [record for record in records if any(record.content_hash not in hashes for hashes in known)]
        files = [self.store.added_folder / record.path.removeprefix(ADDED) for record in missing]
        lost = []
        for batch in encode_files(files, Encoding(self.encoders, self.config.images, self.batch_size, known)):
            self.store.put_vectors({space: batch.pairs(place) for place, space in enumerate(self._space_ids)})
            self.encoded_by |= batch.with_new
            for file in batch.failed:
                if not file.proven and file.kind != "no_vector" and files[file.position].exists():
                    raise DatasetError(
                        f"The image {missing[file.position].path}, which was added by hand, could not be read now "
                        f"({file.reason}). No example was changed: try again, or remove this example."
                    )
            lost += [Skipped(missing[file.position].path, file.reason, file.kind) for file in batch.failed]
            lost += [
                Skipped(missing[file.position].path, "the stored image has changed", "corrupt")
                for file in (*batch.encoded, *batch.known)
                if missing[file.position].content_hash != file.content_hash
            ]
        lost_paths = {image.path for image in lost}
        return [record for record in records if record.path not in lost_paths], lost

    def _may_exist(self, records: Sequence[Record], skipped: Sequence[Skipped]) -> Callable[[str], bool]:
        """Return a function that tells whether a file may exist that was not found.

        Its folder may be unreadable, or a link to it not followed at the moment.
        """
        hiding = ("unreadable", "symlink", "outside")
        unreadable = {file.path for file in (*self.dataset.skipped, *skipped) if file.kind in hiding}
        encoded_hashes = self._with_all_vectors() if unreadable else set()
        hashes = {record.path: record.content_hash for record in records}

        def may_exist(path: str) -> bool:
            folders = (path[:place] for place, letter in enumerate(path) if letter == "/")
            hidden = "." in unreadable or path in unreadable or any(folder in unreadable for folder in folders)
            return hidden and hashes.get(path) in encoded_hashes

        return may_exist

    def _with_all_vectors(self) -> set[str]:
        """Return the content hashes that have a vector of every encoder."""
        return set.intersection(*(self.store.encoded_hashes(space) for space in self._space_ids))

    def _commit(self, plan: Plan, now: str) -> int | None:
        former = self.store.manifest()
        if former is not None and list(former.space_ids) != self._space_ids:
            former = None  # vectors of other encoders are replaced
        transforms = self._new_transforms(plan, former)
        if transforms is None and former is not None:
            entries = former.encoders
        else:
            entries = tuple(
                EncoderEntry(fingerprint, transform.name)
                for fingerprint, transform in zip(self.fingerprints, transforms or (), strict=True)
            )
        manifest = Manifest(
            encoders=entries,
            count=len(plan.final),
            image_root=self.dataset.source,
            created=now if former is None else former.created,
            program=__version__,
            settings=self.settings if former is None or self.settings else former.settings,
        )
        same = former is not None and replace(manifest, program=former.program) == former
        if same and transforms is None and not (plan.put or plan.drop):
            self.store.touch(plan.touched)  # nothing changed on which results depend
            return None
        change = Change([*plan.put, *plan.touched], plan.drop, transforms, tidy=True)
        return self.store.commit(change, manifest, self.edit or NewEdit("sync"))

    def _new_transforms(self, plan: Plan, former: Manifest | None) -> list[Transform] | None:
        """Fit the transforms to the images of `plan`; return None if the stored ones were fitted to just these."""
        hashes = sorted(record.content_hash for record in plan.final)  # the order must not depend on names
        state = self.store.state
        if former is not None and state is not None and state.transform_hashes == contents_digest(hashes):
            return None
        return [
            fitter.fit(self.store.rows(fingerprint.space_id, fingerprint.dim, hashes))
            for fitter, fingerprint in zip(self.transform_fitters(), self.fingerprints, strict=True)
        ]


def _vanished_labels(former: Sequence[Record], plan: Plan) -> Iterator[str]:
    """Yield a warning for each label of which all images were removed, because its folder may not be mounted."""
    removed, remaining = set(plan.changes.removed), {record.label for record in plan.final}
    counts = Counter(record.label for record in former if record.path in removed and record.label not in remaining)
    for label, count in sorted(counts.items()):
        yield f"label {label!r} was removed, because none of its {count} images is in the dataset any more"


def nothing_indexed(dataset: Dataset, skipped: Sequence[Skipped]) -> DatasetError:
    """Return the error for a dataset of which no image could be indexed, with the first reasons."""
    reasons = "; ".join(f"{file.path}: {file.reason}" for file in skipped[:3])
    return DatasetError(
        f"None of the {len(dataset.examples)} images in {DatasetSpec.from_stored(dataset.source)} could be indexed: "
        f"{reasons or 'all of them were removed by hand'}."
    )


def make_report(
    dataset: Dataset,
    output_path: str,
    encoders: Sequence[Fingerprint],
    examples: Sequence[Example],
    hashes: Sequence[str],
    skipped: Sequence[Skipped],
    changes: Changes | None = None,
) -> BuildReport:
    """Return the report of a build or a sync; `examples`, with the content `hashes`, are all examples of the index."""
    alike = alike_warnings(example.label for example in examples)
    return BuildReport(
        image_root=str(DatasetSpec.from_stored(dataset.source)),
        output_path=output_path,
        encoders=tuple(map(str, encoders)),
        indexed=dict(sorted(Counter(example.label for example in examples).items())),
        skipped=tuple(sorted((*dataset.skipped, *skipped), key=lambda file: file.path)),
        warnings=tuple(dict.fromkeys((*dataset.warnings, *alike, *duplicate_warnings(examples, hashes)))),
        changes=changes,
        encoded_by=tuple(encoder_names(encoders)),
    )
