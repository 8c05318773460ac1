"""Apply labels that people corrected in another program to an index, as one edit that can be undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.index_location import index_location
from lmm_classifier.core.labels import normal_label
from lmm_classifier.core.paths import absolute, expand_home
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.places import Place
from lmm_classifier.index.build.corrections import Correction, apply_corrections
from lmm_classifier.index.build.new_labels import check_new, checked_label
from lmm_classifier.index.build.reports import EditReport
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.formats import editable_path, read_index
from lmm_classifier.integrations.corrected_labels.csv_table import read_csv
from lmm_classifier.integrations.corrected_labels.fiftyone import read_fiftyone
from lmm_classifier.integrations.corrected_labels.given_label import GivenLabel
from lmm_classifier.integrations.corrected_labels.label_studio import read_label_studio

LabelSource = Literal["label-studio", "fiftyone", "csv"]
_READERS: Mapping[str, Callable[[Path, str | None], list[GivenLabel]]] = {
    "label-studio": read_label_studio,
    "fiftyone": read_fiftyone,
    "csv": read_csv,
}
_LISTED = 20  # problems in one message


@dataclass(frozen=True, slots=True)
class LabelImport:
    r"""What an import of labels changed, or would change; it is read-only.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import PipelineConfig, build_index_from_directory, import_labels
        >>> report = build_index_from_directory("images", "reviewed", config=PipelineConfig.offline())
        >>> table = Path("labels.csv").write_text("path,label\nnot/there.png,stripes\n")
        >>> done = import_labels("reviewed", "labels.csv", "csv")
        >>> done.relabeled, [(skipped.path, skipped.kind) for skipped in done.skipped]
        ((), [('not/there.png', 'not_there')])
    """

    relabeled: tuple[tuple[str, str, str], ...]
    """Id, former label and new label of each example whose label changes."""
    unchanged: int
    """Examples that have their label already."""
    new_labels: tuple[str, ...]
    """Labels that the index did not have."""
    skipped: tuple[Skipped, ...]
    """What was not used, with reasons. Kinds are `not_there` (no example of the index), `conflict` (two people
    disagree), `changed` (relabeled since the export) and `no_label`."""
    edit: int | None = None
    """Id of the edit in the journal; None where nothing changed."""
    stale: tuple[str, ...] = field(default=())
    """Parts that were fitted to other labels, with what to do."""

    @property
    def kinds(self) -> dict[str, int]:
        """Return the number of skipped ones of each kind."""
        return dict(Counter(skipped.kind for skipped in self.skipped))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "kinds": self.kinds}


def import_labels(
    index_path: Path | str,
    source: Path | str,
    kind: LabelSource,
    unknown_label: str = "unknown",
    name: str | None = None,
    *,
    dry_run: bool = False,
    origin: str = "",
) -> LabelImport:
    r"""Apply corrected labels to a durable index, all in one edit that `undo` takes back, or none of them.

    Nothing is encoded. An example about which two people disagree keeps its label, and so does one that was relabeled
    in the index since the export.

    Args:
        index_path: a durable index (folder).
        source: what the other program exported: a file, or a folder of FiftyOne.
        kind: `label-studio`, `fiftyone` or `csv`.
        unknown_label: the label of unknown images, which no example may have; it is no correction.
        name: what holds the labels: the name of the choices in Label Studio, of a field in FiftyOne, of a column. None
            is what an export of this program has.
        dry_run: change nothing, and return what would change.
        origin: by whom or by which program; stored in the journal.

    Raises:
        DatasetError: the source cannot be read, or a label cannot be one. Nothing is changed then.
        ConflictError: another program relabeled such an example meanwhile. Nothing is changed then.
        IndexFileError: there is no durable index at `index_path`.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import IndexEditor, PipelineConfig, build_index_from_directory, import_labels
        >>> config = PipelineConfig.offline()
        >>> report = build_index_from_directory("images", "corrected", config=config)
        >>> editor = IndexEditor("corrected", config)
        >>> wrong = editor.examples_of("stripes")[0]
        >>> table = Path("corrected.csv").write_text(f"path,label\n{wrong},gingham\n")
        >>> done = import_labels("corrected", "corrected.csv", "csv")
        >>> done.relabeled == ((wrong, "stripes", "gingham"),)
        True
        >>> editor.undo(done.edit).changes.relabeled == ((wrong, "gingham", "stripes"),)
        True
    """
    if kind not in _READERS:
        raise DatasetError(f"The source is {kind!r}. Expected {', '.join(_READERS)}.")
    path, file = editable_path(index_location(index_path)), expand_home(source)
    contents = read_index(path)
    plan = _Plan(contents, unknown_label)
    plan.add(_READERS[kind](file, name))
    corrections = plan.corrections(file)
    report = None
    if corrections and not dry_run:
        note = f"labels of {kind}, {file.name}"
        report = apply_corrections(
            path, corrections, unknown_label, expect=plan.expected(corrections), note=note, origin=origin
        )
    return plan.report(corrections, report)


class _Plan:
    """The labels of each example that a source names."""

    def __init__(self, contents: IndexContents, unknown_label: str) -> None:
        self._contents, self._unknown_label = contents, normal_label(unknown_label)
        self._now = dict(zip(contents.paths, contents.labels))
        self._by_file: dict[str, str] | None = None
        self._given: dict[str, list[GivenLabel]] = {}
        self._skipped: list[Skipped] = []

    def add(self, given: Iterable[GivenLabel]) -> None:
        """Find the examples; what is none is skipped."""
        for label in given:
            example = self._example(label)
            if example is None:
                known = label.example or label.file or label.where
                self._skipped.append(Skipped(known, f"{label.where} names no example of the index", "not_there"))
            else:
                self._given.setdefault(example, []).append(label)

    def _example(self, given: GivenLabel) -> str | None:
        if given.example in self._now:
            return given.example
        if given.file is None:
            return None
        if self._by_file is None:
            self._by_file = {_file_key(self._contents.file_of(path)): path for path in self._now}
        return self._by_file.get(_file_key(Path(given.file))) or self._by_file.get(given.file)

    def corrections(self, source: Path) -> list[Correction]:
        """Return the labels that change; raise DatasetError where one cannot be a label."""
        chosen = {example: label for example, given in self._given.items() if (label := self._agreed(example, given))}
        self._unchanged = sum(label == self._now[example] for example, label in chosen.items())
        changed = {example: label for example, label in chosen.items() if label != self._now[example]}
        _require_labels(changed.values(), self._contents.labels, self._unknown_label, source)
        self._new = tuple(sorted(set(changed.values()) - set(self._contents.labels)))
        return [
            Correction(example, "relabel", label, number)
            for number, (example, label) in enumerate(changed.items(), start=1)
        ]

    def _agreed(self, example: str, given: Sequence[GivenLabel]) -> str | None:
        """Return the label that all who gave one agree on; otherwise say why there is none."""
        labels = list(dict.fromkeys(normal_label(one.label) for one in given if one.label is not None))
        if not labels:
            self._skip(example, f"{given[0].where}: {given[0].problem}", "no_label")
        elif len(labels) > 1:
            where = ", ".join(dict.fromkeys(one.where for one in given if one.label is not None))
            self._skip(example, f"{where}: people disagree: {', '.join(map(repr, labels))}", "conflict")
        elif labels[0] == self._unknown_label:
            self._skip(example, f"{given[0].where}: {labels[0]!r} is no label of an example; remove it", "no_label")
        else:
            exported = {normal_label(one.exported_label) for one in given if one.exported_label is not None}
            now = self._now[example]
            if exported and now not in exported and labels[0] != now:
                self._skip(example, f"{given[0].where}: it was relabeled to {now!r} since the export", "changed")
            else:
                return labels[0]
        return None

    def _skip(self, example: str, reason: str, kind: str) -> None:
        self._skipped.append(Skipped(example, reason, kind))

    def expected(self, corrections: Sequence[Correction]) -> dict[str, str]:
        """Return the labels that these examples must have when they are relabeled."""
        return {row.path: self._now[row.path] for row in corrections}

    def report(self, corrections: Sequence[Correction], edit: EditReport | None) -> LabelImport:
        """Return what changed, or would change."""
        return LabelImport(
            relabeled=tuple((row.path, self._now[row.path], row.label) for row in corrections),
            unchanged=self._unchanged,
            new_labels=self._new,
            skipped=tuple(self._skipped),
            edit=None if edit is None else edit.edit,
            stale=() if edit is None else edit.stale,
        )


def _file_key(place: Place) -> str:
    return str(absolute(place)) if isinstance(place, Path) else str(place)


def _require_labels(labels: Iterable[str], known: Iterable[str], unknown_label: str, source: Path) -> None:
    problems, accepted = list[str](), set(known)
    for label in sorted(set(labels)):
        try:
            accepted.add(checked_label(label, unknown_label))
            check_new([label], accepted - {label} if label not in set(known) else accepted)
        except DatasetError as error:
            problems.append(str(error))
    if problems:
        more = f" And {len(problems) - _LISTED} more." if len(problems) > _LISTED else ""
        raise DatasetError(f"{source}: {' '.join(problems[:_LISTED])}{more} Nothing was changed.")
