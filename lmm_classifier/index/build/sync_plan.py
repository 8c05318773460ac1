"""Compares the examples of an index with the files of a corpus: what was added, removed, renamed, moved, replaced.

Pictures are known by their content. So a file with a new name is a rename where its content was there under a name
that is gone, and a whole renamed label is nothing but renames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lmm_classifier.index.build.reports import Changes
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.storage.records import BY_HAND, CORPUS, Record


@dataclass(frozen=True, slots=True)
class Found:
    """A picture file of the corpus: its id, its label by its folder, its content."""

    path: str
    label: str
    content_hash: str
    size: int
    mtime_ns: int


@dataclass
class Plan:
    """What is to be done to the examples, and what that means."""

    put: list[Record] = field(default_factory=list)  # new, or other than before
    touched: list[Record] = field(default_factory=list)  # the file was written again with the same content
    drop: list[str] = field(default_factory=list)
    final: list[Record] = field(default_factory=list)  # all examples afterwards, ascending by id
    changes: Changes = field(default_factory=Changes)


def plan_sync(
    records: Sequence[Record],
    found: Sequence[Found],
    removed: Mapping[str, Collection[str]],
    may_be_there: Callable[[str], bool],
    now: str,
) -> Plan:
    """Plan how `records` become the examples of the files `found`.

    Contents in `removed`, each with the ids it had, stay out; where the same content lies elsewhere in the index, just
    these ids do. Examples that were added by hand stay, unless their content is found in the corpus
    now; a label that was given by hand stays while its file stays in its folder. `may_be_there` says of an id whether
    its file may be there although it was not found: such an example is kept.
    """
    before = {record.path: record for record in records}
    contents = {record.content_hash for record in records}
    left_out = [one.path for one in found if _is_out(one, removed, contents)]
    out = set(left_out)
    wanted = [one for one in found if one.path not in out]
    same = {one.path for one in wanted if one.path in before and before[one.path].content_hash == one.content_hash}
    vanished = [r for r in records if r.path not in same and (_by_hand(r) or not may_be_there(r.path))]
    pairs = _paired([one for one in wanted if one.path not in same], vanished)
    plan, names = Plan(), _Names()
    for one in wanted:
        old = before[one.path] if one.path in same else pairs.get(one.path)
        record = _record(one, old, now)
        names.note(one, old, record, replaced=one.path in before and one.path not in same)
        if old is None or (record.path, record.label) != (old.path, old.label):
            plan.put.append(record)
        elif record != old:
            plan.touched.append(record)
        plan.final.append(record)
    taken = {old.path for old in pairs.values()}
    gone = [record for record in vanished if record.path in taken or not _by_hand(record)]
    here = {record.path for record in plan.final}
    plan.drop = [record.path for record in gone if record.path not in here]
    left = {record.path for record in gone} | here
    plan.final = sorted([*plan.final, *(r for r in records if r.path not in left)], key=lambda record: record.path)
    removed_now = [path for path in plan.drop if path not in taken]
    plan.changes = names.changes(removed_now, left_out, len(plan.final))
    return plan


@dataclass
class _Names:
    """Collects what happened, by ids."""

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    relabelled: list[tuple[str, str, str]] = field(default_factory=list)

    def note(self, one: Found, old: Record | None, record: Record, replaced: bool) -> None:
        if old is None:
            (self.replaced if replaced else self.added).append(one.path)
            return
        if old.path != one.path:
            self.renamed.append((old.path, one.path))
        if old.label != record.label:
            self.relabelled.append((one.path, old.label, record.label))

    def changes(self, removed: Iterable[str], left_out: Iterable[str], count: int) -> Changes:
        renamed, relabelled = tuple(self.renamed), tuple(self.relabelled)
        other = {*self.added, *self.replaced, *(path for _, path in renamed), *(path for path, _, _ in relabelled)}
        return Changes(
            added=tuple(self.added),
            removed=tuple(removed),
            replaced=tuple(self.replaced),
            renamed=renamed,
            relabelled=relabelled,
            unchanged=count - len(other),
            left_out=tuple(left_out),
        )


def _is_out(one: Found, removed: Mapping[str, Collection[str]], contents: Collection[str]) -> bool:
    ids = removed.get(one.content_hash)
    return ids is not None and (one.path in ids or one.content_hash not in contents)


def _by_hand(record: Record) -> bool:
    return record.path.startswith(ADDED)


def _folder(path: str) -> str:
    return path.split("/", 1)[0]


def _record(one: Found, old: Record | None, now: str) -> Record:
    fresh = Record(one.path, one.label, one.content_hash, one.size, one.mtime_ns, now, CORPUS)
    if old is None:
        return fresh
    if old.how == BY_HAND and not _by_hand(old) and _folder(old.path) == _folder(one.path):
        return replace(fresh, label=old.label, added=old.added, how=BY_HAND)  # a correction outlives the file's place
    return replace(fresh, added=old.added)


def _paired(new: Collection[Found], vanished: Iterable[Record]) -> dict[str, Record]:
    """For files of a content that is gone from elsewhere the example it was: best of the same label, then name."""
    places: dict[str, list[Record]] = defaultdict(list)
    for record in vanished:
        places[record.content_hash].append(record)
    pairs = {}
    for likeness in (_same_label_and_name, _same_label, _same_name, _from_corpus, _any):
        for one in new:
            candidates = places.get(one.content_hash, ())
            match = next((old for old in candidates if likeness(one, old)), None)
            if one.path not in pairs and match is not None:
                pairs[one.path] = match
                places[one.content_hash].remove(match)
    return pairs


def _same_label(one: Found, old: Record) -> bool:
    return one.label == old.label and not _by_hand(old)


def _same_name(one: Found, old: Record) -> bool:
    return one.path.rpartition("/")[2] == old.path.rpartition("/")[2]


def _same_label_and_name(one: Found, old: Record) -> bool:
    return _same_label(one, old) and _same_name(one, old)


def _from_corpus(one: Found, old: Record) -> bool:  # noqa: ARG001 - one of several of a kind
    return not _by_hand(old)


def _any(one: Found, old: Record) -> bool:  # noqa: ARG001
    return True
