"""Vote again on the items of a run that nobody decided, by their stored vectors, after the index changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.datatypes import DECIDE_THEMSELVES
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.discovery.unlabeled import encoder_places
from lmm_classifier.discovery.votes import Votes, vote
from lmm_classifier.neighbors.gallery import directions
from lmm_classifier.pipeline.flow import Flow
from lmm_classifier.review.storage.run_store import Revoted, RunStore, Undecided
from lmm_classifier.review.votes import StoredVectors, classify_stored

_BLOCK = 2048  # items voted on at a time, with consecutive ids
_CACHED = 256 << 20  # bytes of vectors that stay in memory between two votes


@dataclass(frozen=True)
class OpenVotes:
    """The newest votes on the undecided items of a run, in the order of their ids; n items."""

    index_version: int
    items: Sequence[Undecided]  # n
    votes: Votes
    embeddings: tuple[Float32Array, ...]  # (n, d) normalized, of each encoder whose similarities are fused


@dataclass(frozen=True)
class Revote:
    """What a new vote changed."""

    index_version: int  # the version that voted
    voted: int  # items
    changed: tuple[int, ...] = ()  # ids of the items whose label or reason is another one
    newly_confident: tuple[int, ...] = ()  # of these, the ones that need no person any more
    newly_open: tuple[int, ...] = ()  # of these, the ones that need one now
    not_voted: tuple[int, ...] = ()  # their vectors are of encoders that are not asked any more

    def to_dict(self) -> dict[str, int]:
        """Return the counts, ready for JSON."""
        return {
            "index_version": self.index_version,
            "re_voted": len(self.changed),
            "newly_confident": len(self.newly_confident),
            "newly_open": len(self.newly_open),
        }


class Revoter:
    """Votes on stored items. Vectors stay in memory between two votes, as far as there is room for them."""

    def __init__(self, store: RunStore, fingerprints: Sequence[Fingerprint]) -> None:
        self._store, self._fingerprints = store, tuple(fingerprints)
        self._blocks: OrderedDict[tuple[int, int], dict[int, _Stored]] = OrderedDict()
        self._last: _LastVote | None = None

    def vote(self, run: int, flow: Flow) -> tuple[OpenVotes, tuple[int, ...]]:
        """Vote on the undecided items of a run; return the votes, and the ids of items that lack a vector for it."""
        undecided, stamp = self._store.undecided(run), flow.index.contents.stamp
        if self._last is None or self._last.of != (run, stamp) or not self._last.has(undecided):
            self._last = _LastVote((run, stamp), *self._vote(run, flow, undecided))
        return self._last.on(undecided), self._last.missing

    def _vote(self, run: int, flow: Flow, undecided: Sequence[Undecided]) -> tuple[OpenVotes, tuple[int, ...]]:
        indexes = {place: flow.retriever.encoders[place].index for place in encoder_places(flow)}
        rows = {place: [index.gallery.embeddings[:0]] for place, index in indexes.items()}
        parts, items, missing = [Votes.nothing(flow)], list[Undecided](), list[int]()
        for block in _blocks(undecided):
            usable, vectors = self._usable(run, block, flow)
            missing += sorted({item.id for item in block} - {item.id for item in usable})
            if usable:
                items += usable
                parts.append(vote(flow, vectors))
                for place, index in indexes.items():
                    rows[place].append(directions(index.queries(vectors.known[place]))[0])
        embeddings = tuple(np.concatenate(each) for each in rows.values())
        return OpenVotes(flow.index.contents.version, tuple(items), Votes.joined(parts), embeddings), tuple(missing)

    def store_changes(self, run: int, flow: Flow, open_votes: OpenVotes, not_voted: tuple[int, ...]) -> Revote:
        """Store the whole new results of the items whose label or reason is another one than the stored one."""
        votes, items = open_votes.votes, open_votes.items
        changed = [
            row
            for row, item in enumerate(items)
            if (votes.reasons[row], votes.results[row]) != (item.reason, item.label)
        ]
        changed_items = [items[row] for row in changed]
        for block in _blocks(changed_items):
            self._store.put_results(run, self.results(run, flow, block))
        was_open = {item.id: item.reason not in DECIDE_THEMSELVES for item in changed_items}
        is_open = {items[row].id: votes.reasons[row] not in DECIDE_THEMSELVES for row in changed}
        return Revote(
            open_votes.index_version,
            len(items),
            tuple(is_open),
            tuple(item for item in is_open if was_open[item] and not is_open[item]),
            tuple(item for item in is_open if is_open[item] and not was_open[item]),
            not_voted,
        )

    def results(self, run: int, flow: Flow, items: Sequence[Undecided]) -> list[Revoted]:
        """Return the whole results of items by their stored vectors; those that lack a vector are left out."""
        fresh = list[Revoted]()
        for block in _blocks(items):
            usable, vectors = self._usable(run, block, flow)
            stored = self._store.items([item.id for item in usable])
            results = classify_stored(flow, vectors, [item.content_hash for item in stored])
            fresh += [
                Revoted(item.id, flow.index.contents.version, replace(result, path=item.result["path"]).to_dict())
                for item, result in zip(stored, results, strict=True)
            ]
        return fresh

    def _usable(self, run: int, block: Sequence[Undecided], flow: Flow) -> tuple[list[Undecided], StoredVectors]:
        """Return the items that have a vector of every encoder that is asked first, and all their vectors."""
        stored = self._stored(run, block[0].id // _BLOCK)
        ids = np.array([item.id for item in block], np.int64)
        usable = np.ones(len(ids), np.bool_)
        for place in flow.retriever.first_encoders:
            usable &= np.isin(ids, stored[place].ids)
        ids = ids[usable]
        known, rows_of = {}, {}
        for place, each in stored.items():
            rows_of[place] = np.flatnonzero(np.isin(ids, each.ids))
            known[place] = each.vectors[np.searchsorted(each.ids, ids[rows_of[place]])]
        items = [item for item, is_usable in zip(block, usable) if is_usable]
        return items, StoredVectors(len(ids), known, rows_of=rows_of)

    def _stored(self, run: int, number: int) -> dict[int, _Stored]:
        """Return the vectors of a block of ids by the place of the encoder. One that may still grow is read anew."""
        key = (run, number)
        if key not in self._blocks:
            ids = self._store.ids(run, number * _BLOCK, (number + 1) * _BLOCK)
            vectors = dict[int, _Stored]()
            for place, fingerprint in enumerate(self._fingerprints):
                rows, places = self._store.vectors(ids, fingerprint.space_id, fingerprint.dim)
                vectors[place] = _Stored(np.array(ids, np.int64)[places], rows)
            if self._store.last_id() < (number + 1) * _BLOCK:
                return vectors
            self._blocks[key] = vectors
        self._blocks.move_to_end(key)
        while len(self._blocks) > 1 and sum(map(_bytes, self._blocks.values())) > _CACHED:
            self._blocks.popitem(last=False)
        return self._blocks[key]


@dataclass(frozen=True)
class _Stored:
    """Vectors (m, dim) of one encoder, and the ids (m,) of their items, ascending."""

    ids: IntArray
    vectors: Float32Array


@dataclass(frozen=True)
class _LastVote:
    """The last vote of all, for those that come before the index changes; only decisions may come in between."""

    of: tuple[int, str]  # run, stamp of the index
    votes: OpenVotes
    missing: tuple[int, ...]

    def has(self, undecided: Sequence[Undecided]) -> bool:
        """Return whether the vote was on all these items."""
        return {item.id for item in undecided} <= {item.id for item in self.votes.items} | set(self.missing)

    def on(self, undecided: Sequence[Undecided]) -> OpenVotes:
        """Return the votes on these items."""
        items = {item.id: item for item in undecided}
        rows = [row for row, item in enumerate(self.votes.items) if item.id in items]
        chosen = tuple(items[self.votes.items[row].id] for row in rows)
        embeddings = self.votes.embeddings
        if len(rows) < len(self.votes.items):
            embeddings = tuple(each[rows] for each in embeddings)
        return OpenVotes(self.votes.index_version, chosen, self.votes.votes.at(rows), embeddings)


_NOTHING = StoredVectors(0, {})


def _blocks(items: Sequence[Undecided]) -> Iterator[list[Undecided]]:
    """Yield items, in the order of their ids, block by block."""
    for _, block in groupby(items, key=lambda item: item.id // _BLOCK):
        yield list(block)


def _bytes(block: dict[int, _Stored]) -> int:
    return sum(each.vectors.nbytes for each in block.values())
