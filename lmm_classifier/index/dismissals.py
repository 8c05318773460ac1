"""Findings of an audit that a person dismissed, because everything in them is right."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

FindingKind = Literal["label", "outlier", "duplicates"]
FINDING_KINDS: tuple[str, ...] = get_args(FindingKind)


@dataclass(frozen=True, slots=True)
class Dismissal:
    """A finding of an audit that a person calls right.

    `examples` are pairs of content hash and label. `label` says that the label of one image is right, `outlier` that an
    image belongs to the dataset whatever its label, `duplicates` that copies of one image may stay. The labels of
    duplicates count only where they contradict each other; else they are empty.

    Example:
        >>> from lmm_classifier import Dismissal
        >>> Dismissal.of("duplicates", [("b0", "cat"), ("a1", "cat")]).examples
        (('a1', ''), ('b0', ''))
        >>> Dismissal.of("label", [("a1", "cat")]).covers(Dismissal.of("label", [("a1", "dog")]))
        False
    """

    finding: str  # one of FINDING_KINDS
    examples: tuple[tuple[str, str], ...]  # content hash and label, ascending
    time: str = ""  # when it was dismissed, ISO 8601, UTC

    @classmethod
    def of(cls, finding: str, examples: Iterable[tuple[str, str]]) -> Self:
        """Return the dismissal of a finding about pairs of content hash and label; raise ValueError if it is none."""
        pairs = sorted(set(examples))
        if finding not in FINDING_KINDS or not pairs or (finding != "duplicates" and len(pairs) > 1):
            raise ValueError(f"no finding {finding!r} is about {len(pairs)} examples; findings are {FINDING_KINDS}")
        agree = finding == "duplicates" and len({label for _, label in pairs}) == 1
        if finding == "outlier" or agree:
            pairs = sorted({(content_hash, "") for content_hash, _ in pairs})
        return cls(finding, tuple(pairs))

    @property
    def id(self) -> str:
        """Return a digest that names the finding."""
        text = json.dumps([self.finding, self.examples])
        return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()

    def covers(self, finding: Dismissal) -> bool:
        """Return whether `finding` says nothing that was not dismissed: it is about some of the same examples."""
        if self.finding != finding.finding:
            return False
        agrees = all(not label for _, label in finding.examples)
        own = {(content_hash, "") for content_hash, _ in self.examples} if agrees else set(self.examples)
        return own.issuperset(finding.examples)

    def renamed(self, label: str, new: str) -> Dismissal:
        """Return the dismissal after a label was renamed."""
        pairs = sorted({(content_hash, new if name == label else name) for content_hash, name in self.examples})
        if self.finding == "duplicates" and pairs[0][1] and len({name for _, name in pairs}) == 1:
            pairs = sorted({(content_hash, "") for content_hash, _ in pairs})  # they do not contradict any more
        return replace(self, examples=tuple(pairs))

    def to_json(self) -> str:
        """Return JSON in ASCII."""
        return json.dumps([self.finding, self.examples, self.time])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Undo `to_json`; raise ValueError for anything else."""
        try:
            finding, examples, time = json.loads(text)
            pairs = tuple((content_hash, label) for content_hash, label in examples)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"not a dismissal: {error}") from None
        texts = [finding, time, *(part for pair in pairs for part in pair)]
        if finding not in FINDING_KINDS or not pairs or not all(isinstance(part, str) for part in texts):
            raise ValueError("not a dismissal")
        return cls(finding, pairs, time)


class DismissedFindings:
    """Many dismissals, found by the content of the images."""

    def __init__(self, dismissals: Iterable[Dismissal]) -> None:
        self._by_content: dict[tuple[str, str], list[Dismissal]] = defaultdict(list)
        for dismissal in dismissals:
            for content_hash in {content_hash for content_hash, _ in dismissal.examples}:
                self._by_content[dismissal.finding, content_hash].append(dismissal)

    def cover(self, finding: Dismissal) -> bool:
        """Return whether a person dismissed all that a finding says."""
        possible = self._by_content.get((finding.finding, finding.examples[0][0]), ())
        return any(dismissal.covers(finding) for dismissal in possible)
