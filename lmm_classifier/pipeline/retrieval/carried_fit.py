"""A fit that nobody stored, which serves on after small changes of the index, as a stored calibration does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.staleness import ChangesSince, ExampleDigests, vectors_digest
from lmm_classifier.neighbors.voting import RuleSpec


@dataclass(frozen=True)
class CarriedFit:
    """A calibration that was fitted on opening, and the examples and vectors that it was fitted to.

    It is carried from these, however many versions of the index came between. So it depends on the first and on the
    last version alone.
    """

    calibration: Calibration
    examples: ExampleDigests
    vectors: str  # see `vectors_digest`

    @classmethod
    def of(cls, calibration: Calibration, examples: IndexContents, index: IndexContents) -> CarriedFit:
        """Keep a calibration that was fitted to `examples`, which are all of the index or those of some labels."""
        return cls(calibration, ExampleDigests.of(examples), vectors_digest(index))

    def on(self, examples: IndexContents, index: IndexContents, spec: RuleSpec) -> Calibration | None:
        """Return the calibration for another version of the index, by the rules for stored ones.

        The numbers of added examples are NaN until `EncoderFit.completed` fills them in.

        Args:
            examples: of that version.
            index: that version, of which they are all or a part.
            spec: the configured rule, for these examples.

        Returns:
            None where a new fit is due: too many examples changed, or the encoder, the transform or the rule did.
        """
        if self.vectors != vectors_digest(index) or self.calibration.rule != spec.name:
            return None
        changes = ChangesSince.of(self.examples, ExampleDigests.of(examples))
        if changes.is_too_many(len(examples.hashes)):
            return None
        return replace(self.calibration, fits=tuple(_carried(fit, changes, spec) for fit in self.calibration.fits))


def _carried(fit: EncoderFit, changes: ChangesSince, spec: RuleSpec) -> EncoderFit:
    def of_rows(values: Float64Array) -> Float64Array:
        return np.asarray(np.where(changes.rows < 0, np.nan, values[changes.rows]))

    familiarity = replace(fit.familiarity, knn_distance=of_rows(fit.familiarity.knn_distance))
    norms = None if fit.norms is None else of_rows(fit.norms)
    return replace(fit, rule=replace(fit.rule, spec=spec), familiarity=familiarity, norms=norms)
