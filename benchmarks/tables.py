"""Writes docs/benchmarks.md and the README's table from benchmarks/results/*.json."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.rows import RESULTS, Row

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: made by python -m benchmarks.tables -->", "<!-- end of figures -->"
HEAD = """# Measured figures

Made by `python -m benchmarks.tables` from `benchmarks/results/*.json`. A speed is a ratio of two things measured side
by side in one run. A figure that misses its goal stays here, marked. `DATA` and `MODELS` are folders of your own: the
data sets are `clothing` (alexeygrigorev/clothing-dataset-small, 10 classes, 1,817 + 341 photographs) and `trashnet`
(garythung/trashnet, 887 photographs, 6 classes), both scaled to a short side of 256 px; the model is MobileNetV2
(ImageNet) exported to ONNX.
"""


def measured() -> dict[str, list[Row]]:
    """All rows by the name of their file."""
    return {
        file.stem: [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
        for file in sorted(RESULTS.glob("*.json"))
    }


def goal(row: Row) -> str:
    """The goal as a table cell, marked where it is missed."""
    if row.goal is None:
        return ""
    return f"{'≥' if row.better == 'higher' else '≤'} {row.goal:g}{'' if row.reached else ' **missed**'}"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, rows in measured().items():
        parts.append(f"## {name.replace('_', ' ')}\n")
        parts.append("| figure | value | goal | measured on, or against |\n|---|---|---|---|")
        parts += [f"| {row.name} | {row.value:g} {row.unit} | {goal(row)} | {row.against} |" for row in rows]
        commands = dict.fromkeys(row.command for row in rows)
        places = dict.fromkeys(row.where for row in rows)
        parts.append("\n" + "\n".join(f"`{command}`  " for command in commands) + f"\non {'; '.join(places)}\n")
    return "\n".join(parts)


def readme() -> str:
    """The README with its table of the figures that have a goal."""
    text = README.read_text(encoding="utf-8")
    rows = [row for rows in measured().values() for row in rows if row.goal is not None]
    table = ["| figure | value | goal |", "|---|---|---|"]
    table += [f"| {row.name} | {row.value:g} {row.unit} | {goal(row)} |" for row in rows]
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{chr(10).join(table)}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
