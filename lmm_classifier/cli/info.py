"""The job of `lmm-classifier info`: what is in an index."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.cli.console import printable
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.rerank.summary import figures


def describe_index(path: Path) -> dict[str, Any]:
    """Describe an index without loading its vectors: encoder, space, labels with counts, sizes in bytes."""
    contents = read_index(path)
    manifest = contents.manifest
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {
        "path": str(path),
        "encoder": str(manifest.fingerprint),
        "space": manifest.space,
        "pictures": manifest.count,
        "labels": dict(sorted(Counter(contents.labels).items())),
        "dim": manifest.fingerprint.dim,
        "stored_dtype": np.dtype(contents.dtype).name,
        "bytes": sum(file.stat().st_size for file in files),
        "corpus": manifest.image_root,
        "created": manifest.created,
        "program": manifest.program,
        "version": contents.version or None,
        "stale": list(stale_parts(contents)),
        "calibration": _describe_calibration(contents),
    }


def _describe_calibration(contents: Contents) -> dict[str, Any] | None:
    """Describe what `calibrate` stored: which rule, what was chosen and why; None where it was not run or is stale."""
    calibration = Calibration.of(contents)
    if calibration is None or contents.calibration is None:
        return None
    voices = calibration.voices
    keep = calibration.keep_known
    return {
        "rule": str(contents.calibration["recipe"][0]),
        "metric": f"{'signed square root' if voices.metric.root else 'plain'}, shrinkage {voices.metric.shrinkage:g}",
        "log_loss_by_shrinkage": {f"{one:g}": round(loss, 4) for one, loss in voices.losses.items()},
        "temperatures": [round(one, 5) for one in (*voices.temperatures, voices.temperature)],
        "text_weight": voices.text.weight if voices.text else None,
        "confidence_threshold": calibration.confidence_threshold,
        "keep_known": keep,
        "open_set_threshold": None if keep is None else calibration.familiarity.threshold(keep),
        "second_look": figures(calibration.second_look) if calibration.second_look else None,
    }


def run_info(path: Path, as_json: bool) -> None:
    """Print the description of the index at `path` to standard output."""
    described = describe_index(path)
    if as_json:
        sys.stdout.write(json.dumps(described) + "\n")
        return
    counts: dict[str, int] = described.pop("labels")
    calibration: dict[str, Any] | None = described.pop("calibration")
    stale: list[str] = described.pop("stale")
    lines = [f"{name:<13} {value}" for name, value in described.items() if name != "bytes" and value is not None]
    lines.append(f"{'size':<13} {described['bytes'] / 1e6:.1f} MB")
    if calibration is None:
        lines.append(
            f"{'calibration':<13} none: `lmm-classifier calibrate {path}` fits the rule and sets the thresholds"
        )
    else:
        heads = ["calibration", *[""] * 20]
        lines += [f"{head:<13} {line}" for head, line in zip(heads, _calibration_lines(calibration))]
    lines += [f"{'stale':<13} {one}" for one in stale]
    lines.append(f"{'labels':<13} {len(counts)}, {min(counts.values())} to {max(counts.values())} pictures each")
    lines += [f"  {count:>7}  {label}" for label, count in counts.items()]
    sys.stdout.write("\n".join(printable(line) for line in lines) + "\n")


def _calibration_lines(found: dict[str, Any]) -> list[str]:
    losses: dict[str, float] = found["log_loss_by_shrinkage"]
    promised, keep = found["confidence_threshold"], found["keep_known"]
    return [
        f"rule {found['rule']}",
        f"metric {found['metric']}: the simplest of the best by leave-one-out log-loss",
        "  log-loss by shrinkage " + ", ".join(f"{one}: {loss:.3f}" for one, loss in losses.items()),
        f"temperatures {', '.join(map(str, found['temperatures']))} (each voice, then their product)",
        *([f"label names speak with weight {found['text_weight']:g}"] if found["text_weight"] else []),
        "confidence_threshold " + ("not set: no target was asked for" if promised is None else f"{promised:.4f}"),
        f"open_set_threshold {found['open_set_threshold']:.3f} (familiarity), keeps {100 * keep:g} % of the known",
        "second look " + _second_look(found["second_look"]),
    ]


def _second_look(found: dict[str, Any] | None) -> str:
    if found is None:
        return "not measured: `calibrate --rerank` does"
    said = "pays" if found["pays"] else "does not pay, and is off"
    return f"{said}: net gain {100 * found['net_gain']:+.2f} %, {found['calls_per_1000']:.0f} calls per 1000"
