"""The command `info`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from lmm_classifier.cli.given_configuration import complete_commands, given_options
from lmm_classifier.cli.options import IndexArgument, JsonFlag

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def info(index: IndexArgument = None, as_json: JsonFlag = False, *, config: PipelineConfig) -> None:
    """Show what is in an index.

    Lists encoder, labels, calibration, and each threshold with its source.
    """
    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.pipeline.index_info import describe_index

    path = index or config.retrieval.index_path
    described = describe_index(path, config)
    if as_json:
        sys.stdout.write(json.dumps(described) + "\n")
        return
    counts: dict[str, int] = described["labels"]
    plain = (
        "path",
        "images",
        "stored_dtype",
        "dataset",
        "created",
        "program",
        "version",
    )
    described["dataset"] = described["dataset"] or "none: made from vectors, without images"
    rows = [(name, described[name]) for name in plain if described[name] is not None]
    rows[1:1] = [("encoder", line) for entry in described["encoders"] for line in _encoder_lines(entry)]
    rows.append(("remembers", _remembered(described["settings"])))
    rows.append(("size", f"{described['bytes'] / 1e6:.1f} MB"))
    calibration = _calibration_lines(described["calibration"], str(path), config.rerank.enabled)
    rows += [("calibration", complete_commands(line)) for line in calibration]
    rows += [("threshold", line) for line in _threshold_lines(described["thresholds"])]
    rows += [("stale", complete_commands(part)) for part in described["stale"]]
    fewest, most = min(counts.values()), max(counts.values())
    rows.append(("labels", f"{len(counts)}, {fewest if fewest == most else f'{fewest} to {most}'} images each"))
    lines = [*_aligned(rows), *(f"  {count:>7}  {label}" for label, count in counts.items())]
    sys.stdout.write("\n".join(escape_for_terminal(line) for line in lines) + "\n")


def _remembered(settings: dict[str, Any]) -> str:
    """Say which settings commands take from the index where no encoder is named."""
    if not settings:
        return "no settings: --config names its encoder"
    sections = [("encoder", section) for section in settings["encoder"]]
    sections += [(name, settings[name]) for name in settings if name != "encoder"]
    return ", ".join(f"{name}.{key} {value}" for name, section in sections for key, value in section.items())


def _encoder_lines(encoder: dict[str, Any]) -> list[str]:
    time = encoder["milliseconds"]
    speed = "" if time is None else f", {time:.1f} ms an image when they were made"
    return [encoder["encoder"], f"{encoder['vectors']} vectors, transform {encoder['transform']}{speed}"]


def _aligned(rows: list[tuple[str, Any]]) -> list[str]:
    """Align names and values; a name that repeats is shown once."""
    names = [name for name, _ in rows]
    return [
        f"{'' if number and names[number - 1] == name else name:<13} {value}"
        for number, (name, value) in enumerate(rows)
    ]


def _calibration_lines(calibration: dict[str, Any], path: str, reranks: bool) -> list[str]:
    if calibration["state"] == "missing":
        return [f"none: `lmm-classifier calibrate {path}` fits the rule and sets the thresholds"]
    if calibration["state"] == "stale":
        return [
            f"not used. {calibration['reason']} {calibration['remedy']}{_not_given(calibration['remedy'])}",
            *_request_lines(calibration),
        ]
    return [
        *_request_lines(calibration),
        *([f"not certified. {calibration['not_certified']}"] if calibration["not_certified"] else []),
        *([calibration["note"]] if calibration["note"] else []),
        f"rule: {calibration['rule']}",
        *(
            line
            for encoder in calibration["encoders"]
            for line in _fit_lines(encoder, len(calibration["encoders"]) > 1)
        ),
        *(_stage_lines(calibration["stages"]) if len(calibration["encoders"]) > 1 else []),
        "reranking: " + _reranking(calibration["reranking"], reranks),
    ]


def _not_given(remedy: str) -> str:
    """Name the option where the remedy is another configuration, and none was given."""
    from lmm_classifier.calibration.loading import OTHER_ENCODERS, OTHER_RULE

    if given_options() or remedy not in (OTHER_ENCODERS, OTHER_RULE):
        return ""
    return " The default configuration was compared, because no --config is given."


def _fit_lines(fit: dict[str, Any], named: bool) -> list[str]:
    """Say what was fitted to the vectors of one encoder."""
    losses: dict[str, float] = fit["log_loss_by_shrinkage"]
    weight = fit["zero_shot_text_weight"]
    return [
        *([f"{fit['name']}:"] if named else []),
        f"metric: {fit['metric']}, the simplest of the best by leave-one-out log-loss",
        "log-loss by shrinkage: " + ", ".join(f"{shrinkage}: {loss:.3f}" for shrinkage, loss in losses.items()),
        f"temperatures: {', '.join(map(str, fit['temperatures']))} (each expert, then their product)",
        *([f"zero-shot text: weight {weight:g}"] if weight else []),
    ]


def _stage_lines(stages: list[dict[str, Any]]) -> list[str]:
    """Say which encoders are asked, when, and how much each counts."""
    lines = []
    for number, stage in enumerate(stages):
        weights = ", ".join(f"{name} {weight:g}" for name, weight in zip(stage["encoders"], stage["weights"]))
        limit = stages[number - 1]["ask_up_to"] or 0
        asked = f"images with a confidence of at most {limit:.4f}" if number else "every image"
        lines.append(f"weights of the encoders, for {asked}: {weights}")
    return lines


def _request_lines(calibration: dict[str, Any]) -> list[str]:
    """Say when the calibration was made, and what it was asked for; a later `calibrate` keeps that."""
    request: dict[str, Any] | None = calibration["request"]
    asked = [f"asked for: {', '.join(f'{name} {value}' for name, value in request.items())}"] if request else []
    return [f"date: {calibration['date'] or 'not known'}", *asked]


def _threshold_lines(thresholds: dict[str, Any]) -> list[str]:
    units = {"familiarity_threshold": " (familiarity)", "open_set_threshold": " (cosine similarity)"}
    return [
        f"{name}: {threshold['source']}"
        if threshold["value"] is None
        else f"{name}: {threshold['value']:.4f}{units.get(name, '')}, {threshold['source']}"
        for name, threshold in thresholds.items()
    ]


def _reranking(figures: dict[str, Any] | None, reranks: bool) -> str:
    if figures is None:
        asked = ", so every image whose labels compete is asked about" if reranks else ""
        return f"not measured{asked}; `lmm-classifier calibrate --rerank` finds where it helps"
    state = "helps" if figures["pays"] else "does not help, so it is disabled"
    gain, calls = 100 * figures["net_gain"], figures["calls_per_1000"]
    return f"{state}; net gain {gain:+.2f} points, {calls:.0f} calls per 1000 images; measured on {figures['date']}"
