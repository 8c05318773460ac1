"""The figures of an evaluation as text, for pages, terminals and notebooks."""

from __future__ import annotations

from typing import Any

from lmm_classifier.html.tables import Cell, Proportion


def summary(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of the figures at the top of the page, from `Evaluation.to_dict`."""
    images, confidence, unknown = figures["images"], figures["confidence"], figures["unknown"]
    lines = []
    if images["known"]:
        accuracy = figures["accuracy"]
        lines += [
            ("accuracy (95% interval)", f"{percent(accuracy['fraction'])} ({_interval(accuracy)})"),
            ("accuracy without rejection", percent(figures["accuracy_if_a_label_is_forced"]["fraction"])),
            ("known images called unknown", percent(figures["known_called_unknown"]["fraction"])),
            ("expected calibration error", percent(confidence["expected_calibration_error"])),
            ("AURC × 100", f"{100 * confidence['area_under_risk_coverage']:.1f}"),
            ("coverage at 5% risk", percent(confidence["coverage_at_risk"]["0.05"])),
        ]
    if "hierarchy" in figures and images["known"]:
        lines += _level_lines(figures["hierarchy"])
    if unknown:
        lines += [
            ("unknown images caught", f"{percent(unknown['caught']['fraction'])} of {images['unknowns']}"),
            ("unknown AUROC", f"{100 * unknown['auroc']:.1f}"),
            ("unknown FPR at 95% TPR", percent(unknown["fpr_at_95_tpr"])),
        ]
    if groups := figures["groups"]:
        counts = f"{groups['known']} of known images, {groups['unknowns']} of unknown ones"
        lines.insert(0, ("groups, which the intervals are by", f"{counts}; at most {groups['largest']} images in one"))
    reranking = figures["reranking"]
    changes = f"{reranking['corrected']} corrected, {reranking['newly_wrong']} newly wrong"
    lines.append(("reranking", f"{reranking['asked']} asked, {changes}"))
    if left_out := images["left_out_identical"] + images["left_out_near_copies"]:
        kinds = f"{images['left_out_identical']} identical, {images['left_out_near_copies']} near copies"
        lines.insert(0, ("left out, held by the index", f"{left_out} ({kinds})"))
    if images["unreadable"]:
        lines.append(("unreadable files", str(images["unreadable"])))
    return lines


def _level_lines(levels: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is answered at each level, and how often that is right."""
    lines = [(_level_name(row["level"]), _answered(row)) for row in levels["levels"]]
    lines.append(("answered at some level", _answered(levels["some_level"])))
    if below := levels["unknown_below_known"]:
        lines.append(("coarse answers to new labels", _answered(below)))
    return lines


def _level_name(level: int) -> str:
    return f"answered at level {level}{'' if level else ' (labels)'}"


def _answered(row: dict[str, Any]) -> str:
    answered, correct = row["answered"], row["correct"]
    right = f"{percent(correct['fraction'])} right" if correct["of"] else "none"
    return f"{percent(answered['fraction'])} of {answered['of']}, {right}"


LABEL_HEAD = ("label", "recall", "precision", "most frequent mistake")


def label_rows(figures: dict[str, Any]) -> list[list[Cell]]:
    """Return recall and precision of each label, the least recall first, from `Evaluation.to_dict`."""
    return [
        [row["label"], Proportion.of(row), Proportion.of(row["precision"]), row["most_often_instead"] or ""]
        for row in sorted(figures["classes"], key=lambda row: row["fraction"])
    ]


def percent(fraction: float | None) -> str:
    """Write a fraction (0 to 1) as percent; a dash where there is none."""
    return "-" if fraction is None else f"{100 * fraction:.1f}%"


def _interval(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{100 * low:.0f} to {100 * high:.0f}%"
