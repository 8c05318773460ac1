"""What is to be known about the rows of one version of a table: labels, statistics, transforms and further state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray, nest
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.contents import Array
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.manifest import Manifest

_STATE, _LABELS, _COUNTS, _MEANS, _TRANSFORM, _GROUPS = "state", "labels", "counts", "means", "transform", "groups"


@dataclass(frozen=True)
class Extras:
    """What an index holds next to its examples and vectors; so nothing is lost on the way into a table and back."""

    transforms: Sequence[Mapping[str, Array]] = ()  # arrays of the transform of each encoder; (): of none
    dtype: str = "float32"  # number type in which an index has the vectors; a table has them in float32
    dismissals: Sequence[Dismissal] = ()
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    transforms_are_current: bool = True


@dataclass(frozen=True)
class About:
    """The description of one version. C labels, d numbers in a vector."""

    manifest: Manifest  # its `count` is the number of examples: the paths of all rows
    label_names: Sequence[str]  # C, ascending
    counts: IntArray  # (C,) rows of each label
    means: Sequence[Float64Array]  # (C, d) mean vector of each label, of each encoder
    digest: int  # of contents, labels and paths
    source: str  # the arrivals that the rows were made of
    extras: Extras

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.counts.sum())

    @property
    def version(self) -> str:
        """Identifies rows and vectors: equal for equal ones, wherever the table is."""
        digest = hashlib.blake2b(f"{self.digest} {self.rows} {self.manifest.space_ids}".encode(), digest_size=16)
        for mean in self.means:
            digest.update(np.ascontiguousarray(mean).tobytes())
        return digest.hexdigest()

    def to_arrays(self) -> dict[str, Array]:
        """Return the arrays that are stored."""
        extras = self.extras
        state = {
            "manifest": self.manifest.to_json(),
            "digest": self.digest,
            "source": self.source,
            "dtype": extras.dtype,
            "transforms_are_current": extras.transforms_are_current,
            "dismissals": [dismissal.to_json() for dismissal in extras.dismissals],
            "milliseconds": dict(extras.milliseconds),
        }
        arrays = {_STATE: _as_bytes(state), _LABELS: _as_bytes(list(self.label_names)), _COUNTS: self.counts}
        arrays[_GROUPS] = _as_bytes(dict(extras.groups))
        arrays |= {f"{_MEANS}.{place}": means for place, means in enumerate(self.means)}
        for place, transform in enumerate(extras.transforms):
            arrays |= nest(f"{_TRANSFORM}.{place}", transform)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], source: str) -> About:
        """Undo `to_arrays`; raise IndexFileError where the arrays hold something else."""
        try:
            state, names = _value(arrays[_STATE]), _value(arrays[_LABELS])
            manifest = Manifest.from_json(state["manifest"], source)
            places = range(len(manifest.encoders))
            means = [np.asarray(arrays[f"{_MEANS}.{place}"], np.float64) for place in places]
            extras = Extras(
                transforms=[_under(arrays, f"{_TRANSFORM}.{place}.") for place in places],
                dtype=state["dtype"],
                dismissals=[Dismissal.from_json(text) for text in state["dismissals"]],
                milliseconds=state["milliseconds"],
                groups=_value(arrays[_GROUPS]),
                transforms_are_current=state["transforms_are_current"],
            )
            counts = np.asarray(arrays[_COUNTS], np.int64)
            about = cls(manifest, names, counts, means, int(state["digest"]), state["source"], extras)
        except (KeyError, ValueError, TypeError) as error:
            if isinstance(error, IndexFileError):
                raise
            raise IndexFileError(f"{source}: the description of the table is damaged: {error!r}.") from None
        shapes = [(len(names), fingerprint.dim) for fingerprint in manifest.fingerprints]
        if counts.shape != (len(names),) or [array.shape for array in means] != shapes:
            raise IndexFileError(f"{source}: the statistics of the table do not fit its {len(names)} labels.")
        return about

    def with_manifest(self, manifest: Manifest) -> About:
        """Return the same with another manifest."""
        return replace(self, manifest=manifest)


def _as_bytes(value: Any) -> Array:
    return np.frombuffer(json.dumps(value).encode("ascii"), np.uint8)


def _value(array: Array) -> Any:
    return json.loads(np.asarray(array, np.uint8).tobytes())


def _under(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
