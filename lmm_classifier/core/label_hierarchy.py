"""A hierarchy of labels: the coarse labels that stand above them, such as `tops` above `shirt` and `t-shirt`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.errors import ConfigError, DatasetError
from lmm_classifier.core.labels import alike, require_label
from lmm_classifier.core.yaml_loader import NULLS, load_yaml

Steps = tuple[str, ...]  # coarse labels above a label, the coarsest first
_SHOWN = 5  # names in a message
_PLAIN = re.compile(r"[A-Za-z][A-Za-z_-]*")
_NO_NAMES = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}  # without quotes, for some readers of YAML


@dataclass(frozen=True)
class LabelHierarchy:
    """Which coarse labels stand above each label. Every name stands in a hierarchy once.

    A label that is not in it stands at the root: it has no coarse label above it. `ConfigError` is raised, with every
    fault, where a name stands in it twice, or is no label.

    Example:
        >>> from lmm_classifier import LabelHierarchy
        >>> hierarchy = LabelHierarchy({"shirt": ("clothes", "tops"), "skirt": ("clothes",), "vase": ()})
        >>> hierarchy.path("shirt"), hierarchy.path("lamp"), hierarchy.height
        (('clothes', 'tops', 'shirt'), ('lamp',), 2)
        >>> hierarchy.labels_below("clothes")
        ['shirt', 'skirt']
    """

    above: Mapping[str, Steps]
    """For each label the coarse labels above it, the coarsest first."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "above", {label: tuple(steps) for label, steps in sorted(self.above.items())})
        if faults := list(_faults(self.above)):
            more = f"; {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            raise ConfigError("; ".join(faults[:_SHOWN]) + more)

    @property
    def height(self) -> int:
        """Return the number of coarse labels above the deepest label; 0: there is none, so nothing is coarser."""
        return max(map(len, self.above.values()), default=0)

    @property
    def coarse_labels(self) -> set[str]:
        """Return the names of all coarse labels."""
        return set(self._coarse_paths)

    @cached_property
    def _coarse_paths(self) -> dict[str, Steps]:
        return {name: steps[: depth + 1] for steps in self.above.values() for depth, name in enumerate(steps)}

    def path(self, name: str) -> Steps:
        """Return the way from the root to a label or to a coarse label, itself included."""
        if name in self.above:
            return (*self.above[name], name)
        return self._coarse_paths.get(name, (name,))

    def labels_below(self, name: str) -> list[str]:
        """Return the labels below a coarse label, in alphabetical order."""
        return [label for label, steps in self.above.items() if name in steps]

    def of_labels(self, labels: Collection[str]) -> LabelHierarchy:
        """Return the part above some labels; a coarse label that has the name of one of them is left out."""
        names = set(labels)
        kept = {label: tuple(step for step in self.above.get(label, ()) if step not in names) for label in names}
        return LabelHierarchy(kept)

    def renamed(self, names: Mapping[str, str]) -> LabelHierarchy:
        """Return the same, in which labels that are not in it stand where their former names stand.

        Args:
            names: the new name of each former one.
        """
        taken = {*self.above, *self.coarse_labels}
        places = {new: self.above[name] for name, new in names.items() if name in self.above and new not in taken}
        return LabelHierarchy({**self.above, **places})

    def notes(self, labels: Collection[str]) -> list[str]:
        """Say what a reader should know of it for an index with these labels: names that are not in both."""
        names, lines = set(labels), []
        if unknown := sorted(set(self.above) - names):
            lines.append(f"no examples have the labels {_shown(unknown)}")
        if missing := sorted(names - set(self.above) - self.coarse_labels):
            lines.append(f"the labels {_shown(missing)} are not in it, so they stand at the root")
        if both := sorted(names & self.coarse_labels):
            lines.append(f"{_shown(both)} are labels with examples, so they are not used as coarse labels")
        lines += [f"{' and '.join(map(repr, group))} can hardly be told apart" for group in self._alike(names)]
        return lines

    def _alike(self, names: set[str]) -> Iterator[list[str]]:
        return (group for group in alike(names | self.coarse_labels) if set(group) & self.coarse_labels)

    def levels(self, labels: Sequence[str]) -> list[CoarseLevel]:
        """Return its levels over C labels in this order, the finest first; none where nothing is coarser."""
        return [CoarseLevel.of(self, depth, labels) for depth in range(self.height, 0, -1)]

    def to_yaml(self) -> str:
        """Return the text that `read_hierarchy` reads: coarse labels as keys, labels as items or keys."""
        return _yaml(self._tree(), 0)

    def _tree(self) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for label, steps in self.above.items():
            place = tree
            for step in steps:
                place = place.setdefault(step, {})
            place[label] = None
        return tree


@dataclass(frozen=True)
class CoarseLevel:
    """One level of a hierarchy over C labels: each label belongs to its coarse label at a depth, or to itself."""

    depth: int
    """Coarse labels from the root to this level, itself included: 1 is the coarsest."""
    names: tuple[str, ...]
    """Of the G coarse labels, and of the labels that have none at this depth."""
    members: IntArray
    """For each label, its number among the names, (C,)."""
    is_coarse: IntArray
    """Which of the names are coarse labels, (G,): 1 or 0."""

    @classmethod
    def of(cls, hierarchy: LabelHierarchy, depth: int, labels: Sequence[str]) -> CoarseLevel:
        """Cut a hierarchy at a depth."""
        above = [hierarchy.above.get(label, ()) for label in labels]
        names = [steps[depth - 1] if len(steps) >= depth else label for label, steps in zip(labels, above)]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        coarse = {steps[depth - 1] for steps in above if len(steps) >= depth}
        members = np.array([numbers[name] for name in names], np.int64)
        return cls(depth, tuple(numbers), members, np.array([name in coarse for name in numbers], np.int64))

    def probabilities(self, of_labels: Float64Array) -> Float64Array:
        """Return for probabilities of the labels (n, C) the sums of each name, (n, G)."""
        order, starts = self._sorted
        return np.asarray(np.add.reduceat(np.ascontiguousarray(of_labels[:, order]), starts, axis=1))

    @cached_property
    def _sorted(self) -> tuple[IntArray, IntArray]:
        """Return the labels by their names, (C,), and where those of each name begin, (G,)."""
        order = np.argsort(self.members, kind="stable")
        return order, np.searchsorted(self.members[order], np.arange(len(self.names)))

    def best(self, of_labels: Float64Array) -> tuple[IntArray, Float64Array]:
        """Return for each of n images the coarse label above its best label, and the probability of that, (n,).

        It is -1 where none stands above the best label at this depth. Another coarse label may have a larger sum,
        spread over many labels, but is no answer: the proof of the guarantees needs that a right label makes the coarse
        ones right.
        """
        own = self.members[of_labels.argmax(axis=1)]
        probability = self.probabilities(of_labels)[np.arange(len(own)), own]
        return np.where(self.is_coarse[own] == 1, own, -1), np.minimum(probability, 1.0)


def read_hierarchy(path: Path | str) -> LabelHierarchy:
    """Read a YAML file of nested coarse labels; the innermost keys and items are the labels.

    Raises:
        ConfigError: it cannot be read, or a name stands in it twice; the message names every fault.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the hierarchy {path}: {error}.") from error
    values = load_yaml(text, str(path), lambda keys, word: keys[-1:] == ("*",) or word not in NULLS)
    try:
        return hierarchy_of_pairs(_pairs(values, ()))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def hierarchy_of_pairs(pairs: Iterable[tuple[str, Steps]]) -> LabelHierarchy:
    """Return the hierarchy of labels and the coarse labels above them; raise ConfigError where one comes twice."""
    given = [(_label(label), tuple(map(_label, steps))) for label, steps in pairs]
    twice = [label for label, count in Counter(label for label, _ in given).items() if count > 1]
    if twice:
        raise ConfigError(f"the labels {_shown(twice)} stand in it twice; each name may stand in it once")
    return LabelHierarchy(dict(given))


def _pairs(values: Any, steps: Steps) -> Iterator[tuple[str, Steps]]:
    """Yield the labels of nested mappings and lists, with what stands above them."""
    for name, below in values.items() if isinstance(values, dict) else [(item, None) for item in values]:
        if isinstance(name, dict):
            yield from _pairs(name, steps)
        elif not isinstance(name, str):
            raise ConfigError(f"expected names of labels below {' / '.join(steps) or 'the root'}, got {name!r}")
        elif below is None:
            yield name, steps
        elif isinstance(below, dict | list) and below:
            yield from _pairs(below, (*steps, name))
        else:
            raise ConfigError(f"expected labels below {name!r}, as a list or with a colon each, got {below!r}")


def _label(name: str) -> str:
    try:
        return require_label(name)
    except DatasetError as error:
        raise ConfigError(str(error)) from None


def _faults(above: Mapping[str, Steps]) -> Iterator[str]:
    """Say where a name stands twice: as a label and as a coarse one, or below two others."""
    places: dict[str, set[Steps]] = {}
    for label, steps in above.items():
        for depth, step in enumerate(steps):
            places.setdefault(step, set()).add(steps[:depth])
            if step == label or step in steps[:depth]:
                yield f"{step!r} stands above itself"
    for name, ways in places.items():
        if name in above and above[name][-1:] != (name,):
            yield f"{name!r} is both a label and a coarse label; give one of them another name"
        if len(ways) > 1:
            shown = " and ".join(repr(" / ".join(way) or "the root") for way in sorted(ways)[:2])
            yield f"the coarse label {name!r} stands below {shown}; give one of them another name"


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _yaml(tree: Mapping[str, Any], indent: int) -> str:
    lines = []
    for name, below in tree.items():
        lines.append(f"{' ' * indent}{_quoted(name)}:\n")
        if below:
            lines.append(_yaml(below, indent + 2))
    return "".join(lines)


def _quoted(name: str) -> str:
    """Return a name as it stands in YAML: in quotes, unless it is a plain word."""
    if _PLAIN.fullmatch(name) and name.lower() not in _NO_NAMES:
        return name
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in name) + '"'
