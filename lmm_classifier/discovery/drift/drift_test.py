"""The test of a stream of images: each is compared with held-out examples and with the images before it."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.discovery.drift.martingale import ALARM, Martingale
from lmm_classifier.discovery.drift.report import DriftReport, ImageEvidence
from lmm_classifier.pipeline.classifier import HybridClassifier

DIGITS = 6  # of a familiarity, as results are written
_SHOWN = 12  # images with the most evidence


@dataclass(frozen=True, slots=True)
class TestedImage:
    """What the test keeps of one image."""

    __test__ = False  # no class of tests, for pytest

    name: str
    content: str  # 16 hexadecimal digits of its content
    familiarity: float
    p: float  # 0 < p <= 1; small where few images are less familiar
    reference: str  # digest of the held-out examples that it was compared with


@dataclass
class DriftTest:
    """A sequential test of whether images are still as familiar as held-out examples of the dataset.

    The p-value of an image is its rank by familiarity among the held-out examples and all images before it. If they
    are exchangeable, the p-values are uniform and independent, and `martingale` has the guarantee for false alarms.
    Ties are broken by the content of the image, so that the same stream always gives the same numbers. A content counts
    once: an exact copy of an earlier image is no news, and a run that is resumed counts nothing twice.

    Where the held-out examples change, because the index was calibrated again, the images before are no longer
    compared with. The wealth stays. The guarantee then holds nearly, because the new examples are partly the former.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import DriftTest, HybridClassifier, PipelineConfig
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
        ...     test = DriftTest.of_classifier(classifier)
        ...     for result in classifier.classify_paths(sorted(Path("new").glob("*.png"))):
        ...         _ = test.observe_result(result)
        >>> test.report().is_alarm, test.report().images > 0
        (False, True)
    """

    reference: str  # digest of the held-out examples
    pool: list[float]  # familiarity of the held-out examples and of the images so far, ascending
    martingale: Martingale = field(default_factory=Martingale)
    contents: set[str] = field(default_factory=set)
    compared: int = 0  # images
    sum_of_p: float = 0.0
    peak: float = 0.0  # the largest natural logarithm of the wealth so far
    alarm_at: int | None = None  # number of the image at the first alarm, from 1
    shown: list[ImageEvidence] = field(default_factory=list)  # most evidence first

    @classmethod
    def of(cls, held_out: Float64Array, images: Iterable[TestedImage] = ()) -> DriftTest:
        """Begin a test, or continue it after some images.

        Args:
            held_out: familiarity of held-out examples, (n,).
            images: those that were tested before, in order.

        Raises:
            ValueError: there are no held-out examples, or a familiarity is not finite.
        """
        values = rounded_and_sorted(held_out)
        if not values or not all(map(math.isfinite, values)):
            raise ValueError("expected the finite familiarity of at least one held-out example")
        test = cls(reference_digest(values), values)
        for image in images:
            test._count(image)
        return test

    @classmethod
    def of_classifier(cls, classifier: HybridClassifier) -> DriftTest:
        """Begin a test of the images that a classifier answers.

        Raises CalibrationError where its index is too small to hold examples out.
        """
        held_out = classifier.retriever.calibration.familiarity
        if not len(held_out):
            raise CalibrationError("A drift test compares with held-out examples, and this index is too small for one.")
        return cls.of(held_out)

    def observe_result(self, result: Classification) -> TestedImage | None:
        """Test the image of one more result; None where it has no familiarity, such as a file that cannot be read.

        A vector has no content, so its name stands for that; a result without either is refused with ValueError.
        """
        if result.familiarity is None:
            return None
        content = result.content_hash or result.path
        if content is None:
            raise ValueError("expected a result with a path or a content hash, so that an image counts once")
        return self.observe(result.path or content, content, result.familiarity)

    def observe(self, name: str, content_hash: str, familiarity: float) -> TestedImage | None:
        """Test one more image and return what is kept of it; None where its content was tested before.

        Args:
            name: of the image, for the report.
            content_hash: of its bytes.
            familiarity: of the image, in robust standard deviations; it must be finite.
        """
        digest = hashlib.sha256(content_hash.encode("utf-8", "surrogatepass")).digest()
        content, value = digest[:8].hex(), round(familiarity, DIGITS)
        if not math.isfinite(value):
            raise ValueError(f"expected a finite familiarity of {name!r}, got {familiarity}")
        if content in self.contents:
            return None
        tie_break = (int.from_bytes(digest[8:14]) + 0.5) / 2**48
        less = bisect_left(self.pool, value)
        equal = bisect_right(self.pool, value) - less
        p = (less + tie_break * (equal + 1)) / (len(self.pool) + 1)
        image = TestedImage(name, content, value, p, self.reference)
        self._count(image)
        return image

    def _count(self, image: TestedImage) -> None:
        former = self.martingale.log
        self.martingale = self.martingale.bet(image.p)
        self.contents.add(image.content)
        if image.reference == self.reference:
            insort(self.pool, image.familiarity)
        self.compared += 1
        self.sum_of_p += image.p
        log = self.martingale.log
        self.peak = max(self.peak, log)
        if self.alarm_at is None and log >= math.log(ALARM):
            self.alarm_at = self.compared
        if log > former:
            self.shown.append(ImageEvidence(image.name, image.familiarity, image.p, math.exp(log - former)))
            self.shown.sort(key=lambda shown: -shown.factor)
            del self.shown[_SHOWN:]

    def report(self) -> DriftReport:
        """Return the state of the test."""
        mean = self.sum_of_p / self.compared if self.compared else 0.5
        return DriftReport(self.compared, self.martingale.log, self.peak, self.alarm_at, mean, tuple(self.shown))


def rounded_and_sorted(familiarity: Float64Array) -> list[float]:
    """Return the familiarity of held-out examples (n,) as it is compared, ascending."""
    return sorted(round(float(value), DIGITS) for value in familiarity)


def reference_digest(values: Sequence[float]) -> str:
    """Return 16 hexadecimal digits for the familiarity of held-out examples, ascending."""
    text = ",".join(f"{value:.{DIGITS}f}" for value in values)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]
