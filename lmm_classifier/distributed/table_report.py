"""What a build tells of a table: its labels, the files that are not in it, and warnings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lmm_classifier.core.errors import ReplacementError
from lmm_classifier.core.fingerprint import Fingerprint, encoder_names
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.distributed.listing import DatasetListing, SkippedFiles
from lmm_classifier.index.backends.lance_table.arrivals import Arrivals
from lmm_classifier.index.backends.lance_table.datasets import translated
from lmm_classifier.index.build.reports import BuildReport, Changes

_COMPARED = 1_000_000  # rows up to which images under two labels are looked for


def require_same_source(output: str, former: str, current: str) -> None:
    """Raise ReplacementError where the table was built from another dataset: it would lose all its images."""
    before, now = DatasetSpec.from_stored(former), DatasetSpec.from_stored(current)
    if before.source != now.source:
        raise ReplacementError(
            f"The table {output} was built from {before.source}, but this is a build of {now.source}. Nothing was "
            "changed. Choose another output for another dataset. If the dataset was moved, make a symbolic link to it "
            "where it was, and build from there: nothing is encoded again."
        )


@dataclass(frozen=True)
class TableReport:
    """Makes the report of a table from its chunks."""

    url: str
    listing: DatasetListing
    fingerprints: Sequence[Fingerprint]
    chunks: Collection[str]  # names, as they were committed

    def report(self, encoded: int) -> BuildReport:
        """Return the report; `encoded` images were encoded in this run."""
        counts: dict[str, int] = defaultdict(int)
        skipped = self.listing.skipped
        for label, kind, path, reason in self._rows():
            if kind is None:
                counts[label] += 1
            else:
                skipped.add(Skipped(path, reason, kind))
        total = sum(counts.values())
        return BuildReport(
            image_root=str(DatasetSpec.from_stored(self.listing.source)),
            output_path=self.url,
            encoders=tuple(map(str, self.fingerprints)),
            indexed=dict(sorted(counts.items())),
            skipped=tuple(sorted(skipped.first, key=lambda file: file.path)),
            warnings=(*self.listing.warnings(), *self._same_images(total), *_not_listed(skipped)),
            changes=Changes(unchanged=total - encoded, encoded=encoded),
            encoded_by=tuple(encoder_names(self.fingerprints)) if encoded else (),
        )

    def _rows(self) -> Iterator[tuple[str, str | None, str, str]]:
        """Yield label, kind, path and reason of each file; the last two only of bad ones."""
        for batch in self._batches(["label"], "kind IS NULL"):
            yield from ((label, None, "", "") for label in batch["label"].to_pylist())
        for batch in self._batches(["label", "kind", "path", "reason"], "kind IS NOT NULL"):
            for row in batch.to_pylist():
                yield row["label"], row["kind"], row["path"], row["reason"]

    def _same_images(self, total: int) -> list[str]:
        """Return a warning for each image that is under several labels with the same bytes, in small tables."""
        if total > _COMPARED:
            return []
        of_content: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
        for batch in self._batches(["content", "label", "path"], "kind IS NULL"):
            for row in batch.to_pylist():
                of_content[row["content"]].append((row["path"], row["label"]))
        groups = (sorted(rows) for rows in of_content.values() if len({label for _, label in rows}) > 1)
        return [f"the same image under two labels: {', '.join(path for path, _ in group)}" for group in sorted(groups)]

    def _batches(self, columns: Sequence[str], condition: str) -> Iterator[Any]:
        names = import_optional("pyarrow", "scale").array(sorted(self.chunks), "string")
        functions = import_optional("pyarrow.compute", "scale")
        with translated(self.url):
            scan = Arrivals.open(self.url).dataset.scanner(columns=[*columns, "chunk"], filter=condition)
            for batch in scan.to_batches():
                yield batch.filter(functions.is_in(batch["chunk"], value_set=names))


def _not_listed(skipped: SkippedFiles) -> list[str]:
    more = skipped.total - len(skipped.first)
    if not more:
        return []
    kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.counts.most_common())
    return [f"{more} more files are not in the table than the report lists. All of them by their kind: {kinds}"]
