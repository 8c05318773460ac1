"""Corrected labels of other programs, as the command `import` applies them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

from lmm_classifier.cli.console import escape_for_terminal
from lmm_classifier.cli.edit_output import ORIGIN, stale_lines
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.integrations.corrected_labels.label_import import LabelImport, LabelSource, import_labels

_LISTED = 20  # of a kind on the terminal


def import_corrected_labels(
    file: Path,
    kind: str,
    index: IndexLocation | None,
    name: str | None,
    dry_run: bool,
    as_json: bool,
    config: PipelineConfig,
) -> int:
    """Apply the labels, print what changed, and return the exit code: 3 if some names or answers were not used."""
    path = index or config.retrieval.index_path
    source = cast("LabelSource", kind)
    done = import_labels(path, file, source, config.unknown_label, name, dry_run=dry_run, origin=ORIGIN)
    if as_json:
        sys.stdout.write(json.dumps(done.to_dict()) + "\n")
    else:
        lines = _lines(done, path, dry_run)
        sys.stdout.write("\n".join(escape_for_terminal(line) for line in lines) + "\n")
    return 3 if any(kind != "no_label" for kind in done.kinds) else 0


def _lines(done: LabelImport, index: IndexLocation, dry_run: bool) -> list[str]:
    changes = [f"  {path}: {former} -> {label}" for path, former, label in done.relabeled]
    lines = [f"{len(changes)} {'would be relabeled' if dry_run else 'relabeled'}, {done.unchanged} unchanged"]
    lines += _listed(changes)
    if done.new_labels:
        lines.append(f"{len(done.new_labels)} new labels: {', '.join(done.new_labels)}")
    for kind, count in done.kinds.items():
        lines.append(f"{count} not used: {kind.replace('_', ' ')}")
        lines += _listed([f"  {file.path}: {file.reason}" for file in done.skipped if file.kind == kind])
    if done.edit is not None:
        lines += [
            *stale_lines(done.stale),
            f"{index}: edit {done.edit}; `lmm-classifier undo {done.edit}` takes it back",
        ]
    return lines if done.edit is not None else [*lines, f"{index}: nothing was changed"]


def _listed(lines: list[str]) -> list[str]:
    more = len(lines) - _LISTED
    return [*lines[:_LISTED], *([f"  and {more} more"] if more > 0 else [])]
