"""What an audit finds: labels that are likely wrong, duplicates, outliers, labels that are mistaken for each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lmm_classifier.core.datatypes import Neighbor
from lmm_classifier.evaluation.duplicates import Duplicates
from lmm_classifier.evaluation.label_noise import WrongLabels
from lmm_classifier.html.fragment import fragment, table_section
from lmm_classifier.index.dismissals import Dismissal

THIN = 5  # a label with fewer examples is thin


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """An example whose label may be wrong: the other examples give another label a higher probability.

    `label_quality` is 1 - (2 (1 - p(own)) + p(suggested) - p(own)) / 3, where p are the probabilities of the labels
    when the example is held out.
    """

    path: str
    label: str
    suggested: str  # the most probable other label
    label_quality: float  # 0 to 1, lower is worse
    probability: float  # of its own label, 0 to 1
    neighbors: tuple[Neighbor, ...]  # nearest first
    likely: bool = False  # among the worst, as many as labels are expected to be wrong
    content_hash: str = ""  # SHA-256 of the image file, hexadecimal

    @property
    def dismissal(self) -> Dismissal:
        """Return what `IndexEditor.dismiss` takes where the label is right."""
        return Dismissal.of("label", [(self.content_hash, self.label)])


@dataclass(frozen=True, slots=True)
class Outlier:
    """An example that is similar to nothing else in the dataset."""

    path: str
    label: str
    familiarity: float  # in robust standard deviations; 0 is typical, lower is less familiar
    neighbors: tuple[Neighbor, ...]  # nearest first
    content_hash: str = ""  # SHA-256 of the image file, hexadecimal

    @property
    def dismissal(self) -> Dismissal:
        """Return what `IndexEditor.dismiss` takes where the image belongs to the dataset."""
        return Dismissal.of("outlier", [(self.content_hash, self.label)])


@dataclass(frozen=True, slots=True)
class ConfusablePair:
    """Two labels of which the first is predicted as the second when its examples are held out."""

    label: str
    predicted_as: str
    count: int  # such examples
    fraction: float  # of the examples of `label`, 0 to 1


@dataclass(frozen=True)
class Audit:
    """What an audit found in a dataset; the worst findings of each kind come first.

    Example:
        >>> from lmm_classifier import Audit, PipelineConfig, audit_index
        >>> audit = audit_index("index", PipelineConfig.offline())
        >>> isinstance(audit, Audit), audit.judged == audit.examples
        (True, True)
        >>> sorted(audit.to_dict())[:3]
        ['accuracy', 'confusable', 'dismissed']
    """

    examples: int
    """Examples in the index."""
    judged: int
    """Examples that were held out and judged by the others; a sample where there are very many."""
    accuracy: float
    """Fraction of the judged examples that are predicted as their label, 0 to 1."""
    interval: tuple[float, float]
    """95% confidence interval of the accuracy."""
    label_issues: list[LabelIssue]
    """Labels that may be wrong, the lowest label quality first; the first are marked as likely wrong."""
    wrong_labels: WrongLabels
    """How many of the judged labels are expected to be wrong, with a 95% interval."""
    duplicates: list[Duplicates]
    """Groups of the same or nearly the same image, groups with several labels first."""
    searched: int
    """Examples whose duplicates were searched for: all, or a sample where more than 100,000 stay in a store."""
    outliers: list[Outlier]
    """Examples that are similar to nothing else, the least familiar first."""
    thin: dict[str, int]
    """Labels with fewer than 5 examples, and the number of their examples."""
    confusable: list[ConfusablePair]
    """Pairs of labels that are mistaken for each other, the most frequent first."""
    dismissed: int
    """Findings that are left out, because a person dismissed them with `IndexEditor.dismiss`."""
    ranking: dict[int, float]
    """1 - label quality of each judged example by its row in the index, higher is worse; in full precision."""

    @property
    def likely_issues(self) -> list[LabelIssue]:
        """Return the labels that are likely wrong: the worst, as many as are expected to be wrong."""
        return [issue for issue in self.label_issues if issue.likely]

    @property
    def _is_sampled(self) -> bool:
        return 0 < self.searched < self.examples

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; without `ranking`."""
        values = asdict(self)
        del values["ranking"]
        for group, duplicates in zip(values["duplicates"], self.duplicates):
            group["contradict"] = duplicates.contradict
        return values

    @property
    def figures(self) -> list[tuple[str, str]]:
        """Return names and values of the figures that come first, as text."""
        (low, high), wrong = self.interval, self.wrong_labels
        return [
            ("leave-one-out accuracy", f"{100 * self.accuracy:.1f}% ({100 * low:.0f} to {100 * high:.0f}%)"),
            ("examples judged", f"{self.judged} of {self.examples}"),
            ("wrong labels expected", f"{wrong.expected} ({wrong.low} to {wrong.high})"),
            ("labels to check", str(len(self.label_issues))),
            ("same image, several labels", str(sum(group.contradict for group in self.duplicates))),
            ("groups of duplicates", str(sum(not group.contradict for group in self.duplicates))),
            ("outliers", str(len(self.outliers))),
            ("labels with few examples", str(len(self.thin))),
            *([("searched for duplicates", f"{self.searched} of {self.examples}")] if self._is_sampled else []),
            *([("dismissed findings", str(self.dismissed))] if self.dismissed else []),
        ]

    def _repr_html_(self) -> str:
        """Return figures and the worst findings of each kind, for a notebook; `write_audit_page` shows the images."""
        issues = [
            [issue.path, issue.label, issue.suggested, f"{issue.label_quality:.2f}"] for issue in self.label_issues
        ]
        groups = [
            [group.paths[0], str(len(group.paths)), " / ".join(_distinct(group.labels))] for group in self.duplicates
        ]
        outliers = [[outlier.path, outlier.label, f"{outlier.familiarity:.1f}"] for outlier in self.outliers]
        pairs = [
            [pair.label, pair.predicted_as, str(pair.count), f"{100 * pair.fraction:.0f}%"] for pair in self.confusable
        ]
        thin = [[label, str(count)] for label, count in self.thin.items()]
        sections = [
            table_section("issues", "Labels to check", ["image", "labeled", "suggested", "label quality"], issues),
            table_section("duplicates", "Duplicates", ["first image", "images", "labels"], groups),
            table_section("outliers", "Outliers", ["image", "label", "familiarity"], outliers),
            table_section(
                "pairs", "Confusable labels", ["label", "predicted as", "examples", "of its examples"], pairs
            ),
            table_section("thin", "Labels with few examples", ["label", "examples"], thin),
        ]
        return fragment("Audit of the dataset", self.figures, sections)


def _distinct(labels: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(labels))
