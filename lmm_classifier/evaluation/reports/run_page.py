"""The page of a run: how many images got which result, and the least certain of each group with their neighbors."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place
from lmm_classifier.evaluation.reports.contact_sheet import result_section
from lmm_classifier.evaluation.reports.grading import entry_card
from lmm_classifier.evaluation.results import LabeledResult
from lmm_classifier.html.cards import Grade
from lmm_classifier.html.page import MAX_CARDS, write_page
from lmm_classifier.html.thumbnails import Thumbnails

_HEADINGS = {"reranked": "Reranked", "unknown": "Unknown", "accepted": "Accepted", "unreadable": "Unreadable"}


class RunPage:
    """Collects results while they stream by, and keeps only those that the page shows.

    A group shows at most 60 images, those with the lowest score, so that page and memory stay small for any number.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._shown: dict[str, list[tuple[float, int, LabeledResult]]] = {group: [] for group in _HEADINGS}

    def add(self, image: Place, result: Classification, group: str) -> None:
        """Add a result; `group` is `reranked`, `unknown`, `accepted` or `unreadable`."""
        self.counts[group] += 1
        entry = (-result.score, -self.counts[group], LabeledResult(image, result))
        if len(self._shown[group]) < MAX_CARDS:
            heapq.heappush(self._shown[group], entry)
        else:
            heapq.heappushpop(self._shown[group], entry)

    def write(
        self,
        path: Path,
        title: str,
        figures: Sequence[tuple[str, str]],
        file_of: Callable[[str], Place],
        limits: ImageLimits = ImageLimits(),
    ) -> None:
        """Write the page, whole or not at all.

        Args:
            path: the HTML file.
            title: heading of the page.
            figures: names and values at the top.
            file_of: returns the image file of an example by its id.
            limits: the largest image to show, and what reading it may cost.
        """
        thumbnails = Thumbnails(file_of, limits)
        sections = []
        for group, heading in _HEADINGS.items():
            entries = [entry for _, _, entry in sorted(self._shown[group], reverse=True)]
            cards = [(entry.result.label, entry_card(entry, Grade(None), thumbnails)) for entry in entries]
            if cards:
                sections.append(result_section(group, heading, cards, self.counts[group]))
        write_page(path, "results.html", title, figures, sections, thumbnails)
