"""A contact sheet: one HTML file that shows every picture with its verdict and the evidence for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmm_classifier.core.datatypes import Classification, Neighbor
from lmm_classifier.evaluation.reports.page import Section, Thumbnails, cards, picture, text, write_page
from lmm_classifier.evaluation.results import Entry

_NEIGHBORS = 5


def write_contact_sheet(
    path: Path, title: str, summary: Sequence[tuple[str, str]], entries: Iterable[Entry], image_root: Path
) -> None:
    """Write the sheet to `path`: the (name, value) pairs of `summary`, then a card per entry, mistakes first.

    Neighbours' pictures are looked up under `image_root`, whose folders are the labels: a picture whose truth is not
    one of them is right when it is called unknown. A picture that cannot be read gets a placeholder.
    """
    entries = list(entries)
    labels = _labels(image_root, entries)
    thumbnails = Thumbnails(image_root.joinpath)
    sections: dict[str, list[str]] = {name: [] for name, _ in _SECTIONS}
    for entry in entries:
        verdict = judge(entry, labels)
        sections[_section(entry.result, verdict)].append(card(entry, verdict, thumbnails))
    shown = [Section(name, heading, cards(sections[name]), len(sections[name])) for name, heading in _SECTIONS]
    write_page(path, title, summary, [one for one in shown if one.count], LEGEND, thumbnails)


# Judging ------------------------------------------------------------------------------------------------------------

_SECTIONS = (
    ("mistakes", "Mistakes"),
    ("asked", "Asked again"),
    ("unknown", "Unknown"),
    ("rest", "Named at first sight"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the answer is right (None where that cannot be said), and the words for it."""

    right: bool | None
    words: str = ""


def _labels(image_root: Path, entries: Sequence[Entry]) -> set[str]:
    """All labels of the corpus that can be learned from its folders and from the candidates."""
    seen = {candidate.label for entry in entries for candidate in entry.result.candidates}
    folders = {child.name for child in image_root.iterdir() if child.is_dir()} if image_root.is_dir() else set()
    return seen | folders


def judge(entry: Entry, labels: Collection[str]) -> Verdict:
    """Hold the answer against the truth; a stranger to `labels` is right when it is called unknown."""
    if entry.truth is None or entry.result.decision.reason == "unreadable":
        return Verdict(None)
    if entry.truth not in labels:
        right = entry.result.is_unknown
        return Verdict(right, f"{'right, a stranger' if right else 'wrong, a stranger'}: {entry.truth}")
    right = not entry.result.is_unknown and entry.result.label == entry.truth
    return Verdict(right, "right" if right else f"wrong, it is {entry.truth}")


def _section(result: Classification, verdict: Verdict) -> str:
    if verdict.right is False:
        return "mistakes"
    if result.used_reranker or result.decision.reason in ("reranked", "reranker_failed"):
        return "asked"
    return "unknown" if result.is_unknown else "rest"


# Writing ------------------------------------------------------------------------------------------------------------


def card(entry: Entry, verdict: Verdict, thumbnails: Thumbnails) -> str:
    """Show one picture with its verdict and its nearest examples."""
    result, name = entry.result, "/".join(entry.picture.parts[-2:])
    label = f'<h3 class="unknown">{text(result.label)}</h3>' if result.is_unknown else f"<h3>{text(result.label)}</h3>"
    badge = '<span class="badge">second look</span>' if result.used_reranker else ""
    neighbors = "".join(neighbor_item(neighbor, thumbnails) for neighbor in _nearest(result))
    return f"""<article>
<div class="mount">{picture(entry.picture, name)}</div>
<div class="verdict">{label}{_mark(verdict)}{_score(result)}{badge}</div>
<p class="why">{text(result.why)}</p>
{f'<ul class="near" aria-label="nearest examples">{neighbors}</ul>' if neighbors else ""}
<p class="name">{text(name)}</p>
</article>"""


def _mark(verdict: Verdict) -> str:
    if verdict.right is None:
        return ""
    kind, sign = ("right", "✓") if verdict.right else ("wrong", "✗")
    return f'<p class="{kind}"><span aria-hidden="true">{sign}</span> {text(verdict.words)}</p>'


def _score(result: Classification) -> str:
    if not result.candidates:
        return ""
    percent = 100 * min(max(result.score, 0.0), 1.0)
    bar = f'<span class="bar" aria-hidden="true"><i style="width:{percent:.0f}%"></i></span>'
    best = f"best label {text(result.candidates[0].label)}, " if result.is_unknown else ""
    return f'<p class="score">{bar} <span class="number">{best}score {result.score:.2f}</span></p>'


def _nearest(result: Classification) -> list[Neighbor]:
    neighbors = [neighbor for candidate in result.candidates for neighbor in candidate.neighbors]
    return sorted(neighbors, key=lambda neighbor: -neighbor.similarity)[:_NEIGHBORS]


def neighbor_item(neighbor: Neighbor, thumbnails: Thumbnails) -> str:
    """Show one neighbour, small, with its label and similarity."""
    label, path = text(neighbor.example.label), text(neighbor.example.path)
    kind = thumbnails.css_class(neighbor.example.path)
    said = "no picture: " if kind == "gone" else ""
    return (
        f'<li><span class="thumb {kind}" role="img" aria-label="{said}{path}" title="{said}{path}"></span>'
        f'<span class="label" title="{label}">{label}</span><span class="number">{neighbor.similarity:.2f}</span></li>'
    )


LEGEND = (
    "<b>Score</b>: the probability that the label is right, 0 to 1; on an unknown it belongs to the best label, which "
    "not familiar enough. <b>Small pictures</b>: the nearest examples of the corpus with their label and "
    "cosine similarity, at most 1, higher is nearer."
)
