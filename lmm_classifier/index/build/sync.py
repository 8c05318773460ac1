"""Brings a durable index and a corpus folder together: encodes what is new, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from lmm_classifier import __version__
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Example, Fingerprint
from lmm_classifier.core.errors import CorpusError
from lmm_classifier.core.progress import Progress, Skipped
from lmm_classifier.core.protocols import Space, SpaceRecipe
from lmm_classifier.data.image_folder import Corpus, same_bytes_warnings
from lmm_classifier.embeddings.encode_files import LazyEncoder, encode_files
from lmm_classifier.index.build.folder_scan import CorpusContents
from lmm_classifier.index.build.reports import BuildReport
from lmm_classifier.index.build.sync_plan import Plan, plan_sync
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.records import Record, contents_digest
from lmm_classifier.index.storage.store import Change, Store


@dataclass
class Sync:
    """One run of bringing `store` and `corpus` together, with vectors of the encoder `fingerprint`."""

    store: Store
    corpus: Corpus
    fingerprint: Fingerprint
    encoder: LazyEncoder
    recipe: Callable[[], SpaceRecipe]
    config: PipelineConfig
    batch_size: int
    progress: Callable[[Progress], None] | None = None

    def run(self) -> BuildReport:
        """Encode what has no vector yet, then change the examples in one commit.

        Raises CorpusError where not one picture is left: an index without examples is none.
        """
        self.store.begin(str(self.corpus.root.absolute()), self.config.retrieval.stored_dtype)
        records = self.store.records()
        encoder_id = self.fingerprint.space_id
        contents = CorpusContents(
            self.store, self.corpus, encoder_id, self.encoder, self.config.images, self.batch_size, self.progress
        )
        contents.look()
        hand, lost = self._by_hand([record for record in records if record.path.startswith(ADDED)])
        kept = [record for record in records if not record.path.startswith(ADDED)]
        skipped = [*contents.skipped, *lost]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        plan = plan_sync([*hand, *kept], contents.found, self.store.removed(), self._may_be_there(kept, skipped), now)
        if not plan.final:
            raise CorpusError(self._nothing(skipped))
        contents.found.clear()  # the plan says it all; fitting the space needs the memory
        plan.drop += [one.path for one in lost]
        self._commit(plan, now)
        return self._report(plan, skipped, contents.encoded)

    def _by_hand(self, records: list[Record]) -> tuple[list[Record], list[Skipped]]:
        """Those examples added by hand that have a vector; where it is missing, their picture is encoded again."""
        known = self.store.encoded(self.fingerprint.space_id)
        missing = [record for record in records if record.content_hash not in known]
        files = [self.store.added_folder / record.path.removeprefix(ADDED) for record in missing]
        lost = []
        for batch in encode_files(files, self.encoder, self.config.images, self.batch_size):
            pairs = [(content, vector) for (_, content), vector in zip(batch.encoded, batch.vectors)]
            self.store.keep(self.fingerprint.space_id, pairs)
            lost += [Skipped(missing[one.place].path, one.reason, one.kind) for one in batch.refused]
            lost += [
                Skipped(missing[place].path, "the picture that was kept is another one now", "corrupt")
                for place, content in batch.encoded
                if missing[place].content_hash != content
            ]
        gone = {one.path for one in lost}
        return [record for record in records if record.path not in gone], lost

    def _may_be_there(self, records: Sequence[Record], skipped: Sequence[Skipped]) -> Callable[[str], bool]:
        """Whether a file that was not found may be there all the same, where something cannot be read now."""
        unread = {one.path for one in (*self.corpus.skipped, *skipped) if one.kind == "unreadable"}
        has_vector = self.store.encoded(self.fingerprint.space_id) if unread else set()
        contents = {record.path: record.content_hash for record in records}

        def may_be_there(path: str) -> bool:
            folders = (path[:place] for place, letter in enumerate(path) if letter == "/")
            hidden = "." in unread or path in unread or any(folder in unread for folder in folders)
            return hidden and contents.get(path) in has_vector

        return may_be_there

    def _commit(self, plan: Plan, now: str) -> None:
        state, former = self.store.state, self.store.manifest()
        root = str(self.corpus.root.absolute())
        same_encoder = former is not None and not former.fingerprint.differences(self.fingerprint)
        hashes = sorted(record.content_hash for record in plan.final)
        space: Space | None = None
        if state is None or not same_encoder or state.space_contents != contents_digest(hashes):
            # in the order of their contents: names do not matter
            space = self.recipe().fit(self.store.rows(self.fingerprint.space_id, self.fingerprint.dim, hashes))
        manifest = Manifest(
            fingerprint=former.fingerprint if former is not None and same_encoder else self.fingerprint,
            space=former.space if space is None and former is not None else space.name if space else "",
            count=len(plan.final),
            image_root=root,
            created=former.created if former is not None and same_encoder else now,
            program=__version__,
        )
        same = former is not None and replace(manifest, program=former.program) == former
        if same and space is None and not (plan.put or plan.drop):
            self.store.touch(plan.touched)  # nothing that an answer depends on has changed
        else:
            self.store.commit(Change([*plan.put, *plan.touched], plan.drop, space, tidy=True), manifest)

    def _nothing(self, skipped: Sequence[Skipped]) -> str:
        reasons = "; ".join(f"{one.path}: {one.reason}" for one in skipped[:3])
        return (
            f"none of the {len(self.corpus.examples)} pictures under {self.corpus.root} could be indexed: "
            f"{reasons or 'all of them were taken out by hand'}"
        )

    def _report(self, plan: Plan, skipped: Sequence[Skipped], encoded: int) -> BuildReport:
        examples = [Example(record.path, record.label) for record in plan.final]
        hashes = [record.content_hash for record in plan.final]
        return BuildReport(
            image_root=str(self.corpus.root),
            output_path=str(self.store.folder),
            encoder=str(self.fingerprint),
            indexed=dict(sorted(Counter(example.label for example in examples).items())),
            skipped=tuple(sorted((*self.corpus.skipped, *skipped), key=lambda one: one.path)),
            warnings=(*self.corpus.warnings, *same_bytes_warnings(examples, hashes)),
            changes=replace(plan.changes, encoded=encoded),
        )
