"""Writes docs/benchmarks.md from benchmarks/results/*.json; `--check` only says whether it is current."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.rows import RESULTS, Row

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
HEAD = """# Measured figures

Made by `python -m benchmarks.tables` from `benchmarks/results/*.json`. A speed is a ratio of two things measured side
by side in one run. A figure that misses its goal stays here, marked. `DATA` and `MODELS` are folders of your own: the
data sets are `clothing` (alexeygrigorev/clothing-dataset-small, 10 classes, 1,817 + 341 photographs) and `trashnet`
(garythung/trashnet, 887 photographs, 6 classes), both scaled to a short side of 256 px; the model is MobileNetV2
(ImageNet) exported to ONNX.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for file in sorted(RESULTS.glob("*.json")):
        rows = [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
        parts.append(f"## {file.stem.replace('_', ' ')}\n")
        parts.append("| figure | value | goal | measured on, or against |\n|---|---|---|---|")
        for row in rows:
            sign = "≥" if row.better == "higher" else "≤"
            goal = "" if row.goal is None else f"{sign} {row.goal:g}{'' if row.reached else ' **missed**'}"
            parts.append(f"| {row.name} | {row.value:g} {row.unit} | {goal} | {row.against} |")
        commands = dict.fromkeys(row.command for row in rows)
        places = dict.fromkeys(row.where for row in rows)
        parts.append("\n" + "\n".join(f"`{command}`  " for command in commands) + f"\non {'; '.join(places)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/benchmarks.md is stale: run `python -m benchmarks.tables`")
