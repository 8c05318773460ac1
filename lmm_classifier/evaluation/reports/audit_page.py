"""The job of `lmm-classifier audit`: show what is doubtful in a corpus, with the pictures that say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lmm_classifier.core.datatypes import Neighbor
from lmm_classifier.evaluation.audit import Audit, Duplicates, Outlier, SuspectLabel
from lmm_classifier.evaluation.reports.contact_sheet import neighbor_item
from lmm_classifier.evaluation.reports.page import Section, Thumbnails, cards, picture, table, text, write_page

FileOf = Callable[[str], Path]
_SHOWN = 60  # cards per section of the page

_LEGEND = (
    "<b>Likely wrong labels</b>: each picture was left out, and the others would have named it otherwise; doubt, at "
    "most 1, grows as its own label gets less likely and the suggested one more. <b>Small pictures</b>: the nearest "
    "examples with their label and cosine similarity. <b>Familiarity</b>: 0 is typical; far below, nothing is like it."
)


def write_audit_page(path: Path, found: Audit, file_of: FileOf) -> None:
    """Write the findings with the pictures side by side; `file_of` tells where the picture of an example is."""
    thumbnails = Thumbnails(file_of)
    contradictions = [one for one in found.duplicates if one.contradict]
    alike = [one for one in found.duplicates if not one.contradict]
    suspects = [_suspect(one, file_of, thumbnails) for one in found.suspects[:_SHOWN]]
    outliers = [_outlier(one, file_of, thumbnails) for one in found.outliers[:_SHOWN]]
    twice, same = ([_group(one, file_of) for one in groups[:_SHOWN]] for groups in (contradictions, alike))
    sections = [
        _section("labels", "Likely wrong labels", suspects, len(found.suspects)),
        _section("contradictions", "One picture, several labels", twice, len(contradictions)),
        _section("duplicates", "Duplicates", same, len(alike)),
        _section("outliers", "Like nothing else", outliers, len(found.outliers)),
    ]
    pairs = [[one.label, one.taken_for, str(one.count), f"{100 * one.share:.0f} %"] for one in found.confusable]
    if pairs:
        head = ["label", "taken for", "times", "of its examples"]
        sections.append(Section("pairs", "Confusable labels", table(head, pairs), len(pairs)))
    if found.thin:
        thin = table(["label", "examples"], [[label, str(count)] for label, count in found.thin.items()])
        sections.append(Section("thin", "Thin labels", thin, len(found.thin)))
    write_page(path, "Audit of the corpus", summary(found), [one for one in sections if one.count], _LEGEND, thumbnails)


def _section(anchor: str, heading: str, articles: Sequence[str], count: int) -> Section:
    more = f'<p class="note">and {count - len(articles)} more</p>' if count > len(articles) else ""
    return Section(anchor, heading, cards(articles) + more, count)


def _suspect(one: SuspectLabel, file_of: FileOf, thumbnails: Thumbnails) -> str:
    said = f'<p class="wrong">labelled {text(one.label)}</p><p class="score">doubt {one.doubt:.2f}</p>'
    return _article(file_of, one.path, f"<h3>{text(one.suggested)}?</h3>{said}", one.neighbors, thumbnails)


def _outlier(one: Outlier, file_of: FileOf, thumbnails: Thumbnails) -> str:
    said = f'<h3>{text(one.label)}</h3><p class="score">familiarity {one.familiarity:.1f}</p>'
    return _article(file_of, one.path, said, one.neighbors, thumbnails)


def _article(file_of: FileOf, path: str, verdict: str, neighbors: Sequence[Neighbor], thumbnails: Thumbnails) -> str:
    near = "".join(neighbor_item(neighbor, thumbnails) for neighbor in neighbors)
    return f"""<article>
<div class="mount">{picture(file_of(path), path)}</div>
<div class="verdict">{verdict}</div>
<ul class="near" aria-label="nearest examples">{near}</ul>
<p class="name">{text(path)}</p>
</article>"""


def _group(one: Duplicates, file_of: FileOf) -> str:
    kind = "the same bytes" if one.exact else f"nearly the same, similarity {one.similarity:.3f}"
    shown = "".join(
        f'<div><div class="mount">{picture(file_of(path), path)}</div><p class="name">{text(path)}</p></div>'
        for path in one.paths[:4]
    )
    labels = " / ".join(text(label) for label in dict.fromkeys(one.labels))
    more = f'<p class="name">and {len(one.paths) - 4} more</p>' if len(one.paths) > 4 else ""
    head = f'<h3>{labels}</h3><p class="score">{kind}</p>'
    return f'<article class="group">{head}<div class="side">{shown}</div>{more}</article>'


def summary(found: Audit) -> list[tuple[str, str]]:
    """Name and value of the figures that stand at the top."""
    low, high = found.interval
    return [
        ("expected accuracy", f"{100 * found.accuracy:.1f} % ({100 * low:.0f}-{100 * high:.0f})"),
        ("examples judged", f"{found.left_out} of {found.examples}"),
        ("likely wrong labels", str(len(found.suspects))),
        ("one picture, several labels", str(sum(one.contradict for one in found.duplicates))),
        ("groups of duplicates", str(sum(not one.contradict for one in found.duplicates))),
        ("outliers", str(len(found.outliers))),
        ("thin labels", str(len(found.thin))),
    ]
