"""Write the tables of docs/results/*.md and of the README from benchmarks/results/*.json.

A page marks the place of a table with two comments: `<!-- figures: NAME -->` and `<!-- end of figures -->`. The names
are those of `PARTS` and `RELIABILITY`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.rows import RESULTS, Row, read_rows

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = tuple(
    ROOT / "docs" / "results" / f"{name}.md"
    for name in ("quality", "discovery", "performance", "reranking", "serving", "scale", "reliability")
)
RELIABILITY = "reliability"  # faults are tried and survived, not measured: its file has another form

# table -> the file of its rows, and how the names of its rows begin
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "accuracy": ("quality", ("accuracy",)),
    "confidence": ("quality", ("ECE", "AURC")),
    "guarantees": ("quality", ("guarantee",)),
    "unknowns": ("quality", ("near-OOD", "keep_known")),
    "fused": ("encoders_fused", ("accuracy", "ECE", "AURC")),
    "fused_unknowns": ("encoders_fused", ("near-OOD", "audit")),
    "cascades": ("encoders_fused", ("loss", "time", "guarantee")),
    "encoder_times": ("encoders_fused_time", ("",)),
    "audit": ("quality", ("audit",)),
    "label_noise": ("label_noise", ("",)),
    "near_copies": ("near_copies", ("",)),
    "proposals": ("discovery", ("clicks saved", "new images right", "purity", "known images in", "number of new")),
    "new_labels_met": ("discovery", ("new labels met",)),
    "next_labels": ("discovery", ("labels a class", "mean gain over random order")),
    "coarse_labels": (
        "discovery",
        ("answered at some level", "more than labels alone", "wrong coarse answers", "draws that break", "draws with"),
    ),
    "drift": ("discovery", ("drift",)),
    "priors": ("discovery", ("priors",)),
    "few_examples": ("discovery", ("few examples",)),
    "calibration": ("quality", ("calibration",)),
    "repeated_objects": ("repeated_objects", ("",)),
    "pipeline": ("accuracy", ("",)),
    "descriptor": ("descriptor", ("",)),
    "encoders": ("performance", ("encoder",)),
    "int8": ("int8", ("",)),
    "decode": ("performance", ("decode",)),
    "decode_limits": ("decode_limits", ("",)),
    "color": ("color_cost", ("",)),
    "end_to_end": ("performance", ("end to end",)),
    "search": ("performance", ("search", "scoring", "graph search")),
    "million": ("performance", ("1,000,000",)),
    "opening": ("performance", ("opening",)),
    "build_memory": ("performance", ("build",)),
    "durability": ("durability", ("",)),
    "start": ("performance", ("start",)),
    "gpu": ("performance", ("GPU",)),
    "gpu_reranks": ("gpu", ("GPU reranks",)),
    "serving_http": ("serving_http", ("",)),
    "teaching_http": ("teaching_http", ("",)),
    "serving": ("serving", ("",)),
    "serving_checks": ("serving_checks", ("",)),
    "following": ("following", ("",)),
    "edits": ("edits", ("",)),
    "review_order": ("review_order", ("",)),
    "review_keys": ("review_keys", ("",)),
    "dataset_map": ("dataset_map", ("",)),
    "scale_engines": ("scale", ("encoding by Ray", "a job of Ray", "local build", "killed", "scatter")),
    "scale_table": ("scale", ("table",)),
    "scale_answers": ("scale", ("answers",)),
    "scale_simulation": ("scale", ("simulation",)),
    "gate": ("reranking", ("trained shapes",)),
    "orders": ("reranking", ("orders",)),
    "attack": ("reranking", ("typographic",)),
    "speed": ("reranking", ("servers", "speed", "real size")),
}
_PART = re.compile(r"<!-- figures: (\w+) -->\n.*?<!-- end of figures -->", flags=re.DOTALL)

README_START, README_END = "<!-- results:start -->", "<!-- results:end -->"
README_ROWS = {  # a row of the quality results -> what the README calls it
    "accuracy, clothing": "clothing, 10 labels, 1,817 examples",
    "accuracy, clothing, 16 per class": "clothing, 16 examples per label",
    "accuracy, clothing, 4 per class": "clothing, 4 examples per label",
    "accuracy, trashnet": "trashnet, 6 labels, 80% of 887 images",
    "accuracy, trashnet, 16 per class": "trashnet, 16 examples per label",
}
_BASELINES = re.compile(r"kNN-5 ([\d.]+), logistic regression ([\d.]+);")


def rows_of(part: str) -> list[Row]:
    """Return the measured rows of one table."""
    file, prefixes = PARTS[part]
    return [row for row in read_rows(file) if row.name.startswith(prefixes)]


def goal(row: Row) -> str:
    """Return the goal as a table cell, marked where it is missed."""
    if row.goal is None:
        return ""
    return f"{'≥' if row.better == 'higher' else '≤'} {row.goal:g}{'' if row.reached else ' **missed**'}"


def figures(part: str) -> str:
    """Return the table of one part, with the commands and machines that its rows come from."""
    if part == RELIABILITY:
        return reliability_figures()
    rows = rows_of(part)
    if not rows:
        return "Not measured yet."
    with_rounds = any(row.spread for row in rows)
    header = ["figure", "value", *(["rounds"] if with_rounds else []), "goal", "data, or what it is compared with"]
    cells = [[row.name, value(row), *([row.spread] if with_rounds else []), goal(row), row.against] for row in rows]
    return f"{markdown([header, *cells])}\n\n{source(rows)}"


def value(row: Row) -> str:
    """Return the value with its unit as a table cell."""
    return f"{row.value:g}%" if row.unit == "%" else f"{row.value:g} {row.unit}".strip()


def source(rows: list[Row]) -> str:
    """Return the commands and machines of rows, a line each."""
    commands = [f"Command: `{command}`" for command in dict.fromkeys(row.command for row in rows)]
    machines = [f"Machine: {where}" for where in dict.fromkeys(row.where for row in rows)]
    return "  \n".join([*commands, *machines])


def markdown(lines: list[list[str]]) -> str:
    """Return a Markdown table; the first line is its header."""
    header, *body = (f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([header, "|" + "---|" * len(lines[0]), *body])


def reliability_figures() -> str:
    """Return the table of faults."""
    run = json.loads((RESULTS / f"{RELIABILITY}.json").read_text(encoding="utf-8"))
    lines = [["fault", "tried", "survived", "lost", "notes"]]
    for fault in run["faults"]:
        notes = f"not tried: {fault['skipped']}" if fault["skipped"] else "; ".join(fault["notes"])
        lines.append([fault["fault"], f"{fault['tried']:,}", f"{fault['survived']:,}", str(fault["lost"]), notes])
    return f"{markdown(lines)}\n\nCommand: `{run['command']}`, {run['seconds']} s  \nMachine: {run['where']}"


def page(path: Path) -> str:
    """Return the text of a page with all its tables made anew."""

    def replaced(match: re.Match[str]) -> str:
        part = match.group(1)
        return f"<!-- figures: {part} -->\n{figures(part)}\n<!-- end of figures -->"

    return _PART.sub(replaced, path.read_text(encoding="utf-8"))


def missing_parts() -> set[str]:
    """Return the tables that no page shows."""
    shown = {part for path in PAGES for part in _PART.findall(path.read_text(encoding="utf-8"))}
    return {*PARTS, RELIABILITY} - shown


def readme() -> str:
    """Return the README with its five results between the markers; unchanged where it has no markers."""
    text = README.read_text(encoding="utf-8")
    before, start, rest = text.partition(README_START)
    _, end, after = rest.partition(README_END)
    if not end:
        return text
    return f"{before}{start}\n{readme_results()}\n{end}{after}"


def readme_results() -> str:
    """Return the table of the README: the accuracy of this program and of its two rivals, and of two encoders fused."""
    rows = {row.name: row for row in rows_of("accuracy")}
    fused = {row.name: row for row in rows_of("fused")}
    lines = [["dataset", "this program", "kNN-5", "trained logistic regression", "`--config lite`"]]
    for name, dataset in README_ROWS.items():
        baselines = _BASELINES.match(rows[name].against)
        assert baselines is not None, rows[name].against
        both = fused[name.replace("accuracy", "accuracy of lite+descriptor")]
        rivals = [f"{accuracy}%" for accuracy in baselines.groups()]
        lines.append([dataset, f"{rows[name].value:.1f}%", *rivals, f"**{both.value:.1f}%**"])
    row = rows["accuracy, clothing"]
    machine = ", ".join(row.where.split(", ")[:2])
    commands = f"`{row.command}`, and `benchmarks.encoders_fused` for the last column"
    return f"{markdown(lines)}\n\nAccuracy on new images. Command: {commands}; machine: {machine}."


def main() -> None:
    """Write all pages."""
    for path in PAGES:
        path.write_text(page(path), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
    if missing := missing_parts():
        raise SystemExit(f"No page shows the tables {', '.join(sorted(missing))}. Add their markers to a page.")


if __name__ == "__main__":
    main()
