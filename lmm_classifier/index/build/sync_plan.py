"""Compare the examples of an index with the files of a dataset: added, removed, renamed, moved and replaced images.

Images are identified by their content. A file with a new name counts as renamed if its content was in the index under
a name that no longer exists. So a renamed label folder consists of renamed images only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lmm_classifier.index.build.reports import Changes
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.storage.records import BY_HAND, FROM_FOLDER, Record


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """An image file of the dataset: its id, the label of its folder, and its content."""

    path: str
    label: str
    content_hash: str
    size: int  # bytes
    stamp: int  # `file_stamp`


@dataclass
class Plan:
    """Changes to make to the examples."""

    put: list[Record] = field(default_factory=list)  # new or changed examples
    touched: list[Record] = field(default_factory=list)  # examples whose file was written again with the same content
    drop: list[str] = field(default_factory=list)  # ids
    final: list[Record] = field(default_factory=list)  # all examples afterwards, ascending by id
    changes: Changes = field(default_factory=Changes)


def plan_sync(
    records: Sequence[Record],
    files: Sequence[ScannedFile],
    removed: Mapping[str, Collection[str]],
    may_exist: Callable[[str], bool],
    now: str,
) -> Plan:
    """Plan how the examples `records` become the examples of `files`.

    Examples that were added by hand stay, unless their content is now in the dataset. A label that was given by hand
    stays while its file stays in its folder.

    Args:
        records: the current examples.
        files: all images of the dataset.
        removed: content hashes that a person removed, each with the ids that it had. They are not added again. If the
            index has the same content elsewhere, only these ids are left out.
        may_exist: tells whether the file of an id may exist although it was not found. Its example then stays.
        now: time of new examples, ISO 8601.
    """
    by_path = {record.path: record for record in records}
    hashes = {record.content_hash for record in records}
    left_out = [file.path for file in files if _is_left_out(file, removed, hashes)]
    excluded = set(left_out)
    wanted = [file for file in files if file.path not in excluded]
    same = {
        file.path for file in wanted if file.path in by_path and by_path[file.path].content_hash == file.content_hash
    }
    vanished = [r for r in records if r.path not in same and (_is_added(r) or not may_exist(r.path))]
    pairs = _pair_by_content([file for file in wanted if file.path not in same], vanished)
    plan, log = Plan(), _ChangeLog()
    for file in wanted:
        former = by_path[file.path] if file.path in same else pairs.get(file.path)
        record = _record(file, former, now)
        log.note(file, former, record, replaced=file.path in by_path and file.path not in same)
        if former is None or (record.path, record.label) != (former.path, former.label):
            plan.put.append(record)
        elif record != former:
            plan.touched.append(record)
        plan.final.append(record)
    paired = {former.path for former in pairs.values()}
    obsolete = [record for record in vanished if record.path in paired or not _is_added(record)]
    current = {record.path for record in plan.final}
    plan.drop = [record.path for record in obsolete if record.path not in current]
    handled = {record.path for record in obsolete} | current
    plan.final = sorted([*plan.final, *(r for r in records if r.path not in handled)], key=lambda record: record.path)
    removed_now = [path for path in plan.drop if path not in paired]
    plan.changes = log.changes(removed_now, left_out, len(plan.final))
    return plan


@dataclass
class _ChangeLog:
    """Collects the ids of changed examples."""

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    relabeled: list[tuple[str, str, str]] = field(default_factory=list)

    def note(self, file: ScannedFile, former: Record | None, record: Record, replaced: bool) -> None:
        if former is None:
            (self.replaced if replaced else self.added).append(file.path)
            return
        if former.path != file.path:
            self.renamed.append((former.path, file.path))
        if former.label != record.label:
            self.relabeled.append((file.path, former.label, record.label))

    def changes(self, removed: Iterable[str], left_out: Iterable[str], count: int) -> Changes:
        renamed, relabeled = tuple(self.renamed), tuple(self.relabeled)
        changed = {*self.added, *self.replaced, *(path for _, path in renamed), *(path for path, _, _ in relabeled)}
        return Changes(
            added=tuple(self.added),
            removed=tuple(removed),
            replaced=tuple(self.replaced),
            renamed=renamed,
            relabeled=relabeled,
            unchanged=count - len(changed),
            left_out=tuple(left_out),
        )


def _is_left_out(file: ScannedFile, removed: Mapping[str, Collection[str]], hashes: Collection[str]) -> bool:
    ids = removed.get(file.content_hash)
    return ids is not None and (file.path in ids or file.content_hash not in hashes)


def _is_added(record: Record) -> bool:
    return record.path.startswith(ADDED)


def _folder(path: str) -> str:
    return path.partition("/")[0] if "/" in path else ""  # rows of a table and samples of a shard are in no folder


def _record(file: ScannedFile, former: Record | None, now: str) -> Record:
    record = Record(file.path, file.label, file.content_hash, file.size, file.stamp, now, FROM_FOLDER)
    if former is None:
        return record
    if former.provenance == BY_HAND and not _is_added(former) and _folder(former.path) == _folder(file.path):
        # a label that was corrected by hand stays when its file is renamed in its folder
        return replace(record, label=former.label, added=former.added, provenance=BY_HAND)
    return replace(record, added=former.added)


def _pair_by_content(files: Collection[ScannedFile], vanished: Iterable[Record]) -> dict[str, Record]:
    """Pair files with vanished examples of the same content: preferably of the same label, then of the same name."""
    by_hash: dict[str, list[Record]] = defaultdict(list)
    for record in vanished:
        by_hash[record.content_hash].append(record)
    pairs = {}
    for preference in (_same_label_and_name, _same_label, _same_name, _from_folder, _any):
        for file in files:
            candidates = by_hash.get(file.content_hash, ())
            match = next((former for former in candidates if preference(file, former)), None)
            if file.path not in pairs and match is not None:
                pairs[file.path] = match
                by_hash[file.content_hash].remove(match)
    return pairs


def _same_label(file: ScannedFile, former: Record) -> bool:
    return file.label == former.label and not _is_added(former)


def _same_name(file: ScannedFile, former: Record) -> bool:
    return file.path.rpartition("/")[2] == former.path.rpartition("/")[2]


def _same_label_and_name(file: ScannedFile, former: Record) -> bool:
    return _same_label(file, former) and _same_name(file, former)


def _from_folder(file: ScannedFile, former: Record) -> bool:  # noqa: ARG001 - all preferences have one signature
    return not _is_added(former)


def _any(file: ScannedFile, former: Record) -> bool:  # noqa: ARG001 - all preferences have one signature
    return True
