"""The drift tests of runs: every image that a run classifies is tested, and the test is resumed with the run."""

from __future__ import annotations

from collections.abc import Sequence

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.discovery.drift.drift_test import DriftTest, rounded_and_sorted
from lmm_classifier.discovery.drift.drift_test import reference_digest as digest_of
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.storage.drift_store import DriftStore
from lmm_classifier.review.storage.records import NewItem

_OPEN = 4  # tests that are held in memory; another one is read again


class DriftTests:
    """Tests the images of runs by how familiar they were when they were classified; later votes change nothing.

    Args:
        store: keeps the tests.
        classifier: names the held-out examples; where its index is calibrated anew, the next batch is compared with the
            new ones.
    """

    def __init__(self, store: DriftStore, classifier: HybridClassifier) -> None:
        self.store: DriftStore = store
        self._classifier = classifier
        self._tests: dict[int, DriftTest] = {}
        self._held_out: tuple[Calibration, str] | None = None  # the newest, and its digest

    def add(self, run: int, items: Sequence[NewItem]) -> None:
        """Test the images of a batch in order, and store that; without held-out examples nothing is tested."""
        calibration = self._classifier.retriever.calibration
        if not len(calibration.familiarity):
            return
        test = self._test(run, calibration)
        try:
            tested = [
                test.observe(item.name, item.content_hash, item.result["familiarity"])
                for item in items
                if item.content_hash and item.result["familiarity"] is not None
            ]
            if images := [image for image in tested if image is not None]:
                self.store.add(run, images, test.report())
        except BaseException:
            self._tests.pop(run, None)  # it may be ahead of what is stored
            raise

    def forget(self, run: int) -> None:
        """Read the test of a run again when it is needed: its last batch was not stored, or it was deleted."""
        self._tests.pop(run, None)

    def _test(self, run: int, calibration: Calibration) -> DriftTest:
        if self._held_out is None or self._held_out[0] is not calibration:
            self._held_out = calibration, digest_of(rounded_and_sorted(calibration.familiarity))
        test = self._tests.get(run)
        if test is None or test.reference != self._held_out[1]:
            while len(self._tests) >= _OPEN:
                self._tests.pop(next(iter(self._tests)))
            test = self._tests[run] = DriftTest.of(calibration.familiarity, self.store.images(run))
        return test
