"""Writes docs/benchmarks.md and the README's table from benchmarks/results/*.json."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.rows import RESULTS, Row

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
RERANKING = ROOT / "docs" / "reranking.md"
QUALITY = ROOT / "docs" / "quality.md"
README = ROOT / "README.md"
RELIABILITY = ROOT / "docs" / "reliability.md"
FAULTS = "reliability"  # tried and survived, not measured: a file of its own kind
BEGIN, END = "<!-- figures: made by python -m benchmarks.tables -->", "<!-- end of figures -->"
HEAD = """# Measured figures

Made by `python -m benchmarks.tables` from `benchmarks/results/*.json`. A speed is a ratio of two things measured side
by side in one run. A figure that misses its goal stays here, marked. `DATA` and `MODELS` are folders of your own: the
data sets are `clothing` (alexeygrigorev/clothing-dataset-small, 10 classes, 1,817 + 341 photographs) and `trashnet`
(garythung/trashnet, 887 photographs, 6 classes), both scaled to a short side of 256 px; the model is MobileNetV2
(ImageNet) exported to ONNX.
"""

QUALITY_HEAD = """# Quality of `rule: auto`

Made by `python -m benchmarks.tables` from `benchmarks/results/quality.json`. All rivals work on the same MobileNetV2
vectors; the data are described in [benchmarks.md](benchmarks.md). A figure that misses its goal stays here, marked.

How to read it:

- *accuracy*: a label is forced. kNN-5 is scikit-learn's majority by cosine; logistic regression is the better of two
  trained ones (standardised features with C = 1, raw with C = 100). Few-shot figures depend on which pictures are
  drawn: over five draws of 4 per class their mean moves by about 1.5 points.
- *ECE* is held against what perfectly calibrated classifiers of the same confidences show by chance.
- *promise*: the rule and the threshold come from leave-one-out on 80 %; the other 20 % say whether it was kept. A split
  counts as broken when its errors exceed what the promised rate shows in 95 of 100 samples of that size.
- *near unknowns*: labels left out of the corpus play strangers; higher AUROC and lower FPR are better.
- *audit*: 5 % of the labels are changed, the ranking of doubts is judged; the goal is cleanlab's best plus ten points.
- *misses*: clothing is five pictures of 341 short of its goal. Much of that is luck: what the model sees shifted
  by half a pixel in four directions gives 85.9 to 87.1 (kNN-5 78.3 to 80.6, logistic regression 83.0 to 84.2). At 4 per
  class everything that was tried (prototypes of unit rows, one shrinkage per voice, averages and Bayesian averages over
  shrinkages, the one-standard-error rule, a finer grid, each voice alone, other weights) ends between 63 and 65, where
  trained logistic regression has about as much. On trashnet AURC falls to 57 % of kNN-5's, not to half. One of ten
  splits of near unknowns is a third of a point below max similarity.
- *calibrating*: time grows with the square of the number of pictures up to 20,000 and linearly beyond, where 20,000 of
  them are left out; beyond 100,000 it is as many as make 2,000 million comparisons (2,000 of a million), and beyond
  200,000 the density around pictures is that of their label: see [performance.md](performance.md) for a million.
"""


def measured() -> dict[str, list[Row]]:
    """All rows by the name of their file."""
    return {
        file.stem: [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
        for file in sorted(RESULTS.glob("*.json"))
        if file.stem != FAULTS
    }


def goal(row: Row) -> str:
    """The goal as a table cell, marked where it is missed."""
    if row.goal is None:
        return ""
    return f"{'≥' if row.better == 'higher' else '≤'} {row.goal:g}{'' if row.reached else ' **missed**'}"


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(part for name, rows in measured().items() for part in section(name, rows))])


def quality() -> str:
    """The page on the quality of decisions, confidence and `unknown`."""
    return "\n".join([QUALITY_HEAD, *section("quality", measured()["quality"])])


def section(name: str, rows: list[Row]) -> list[str]:
    """The rows of one file as a table, with the commands and machines they come from."""
    parts = []
    parts.append(f"## {name.replace('_', ' ')}\n")
    parts.append("| figure | value | goal | measured on, or against |\n|---|---|---|---|")
    parts += [f"| {row.name} | {row.value:g} {row.unit} | {goal(row)} | {row.against} |" for row in rows]
    commands = dict.fromkeys(row.command for row in rows)
    places = dict.fromkeys(row.where for row in rows)
    parts.append("\n" + "\n".join(f"`{command}`  " for command in commands) + f"\non {'; '.join(places)}\n")
    return parts


HEADLINES = (  # how the names of figures begin that the README shows
    "accuracy", "building", "demo", "shapes", "encoder", "decode 1024x768, 2", "end to end so400m", "search 200,000",
    "opening", "start: lmm-classifier --help", "GPU",
)  # fmt: skip


def readme() -> str:
    """The README with its table: the figures that matter most, and every missed goal."""
    text = README.read_text(encoding="utf-8")
    rows = [row for rows in measured().values() for row in rows if row.goal is not None]
    shown = [row for row in rows if not row.reached or row.name.startswith(HEADLINES)]
    table = ["| figure | value | goal |", "|---|---|---|"]
    table += [f"| {row.name} | {row.value:g} {row.unit} | {goal(row)} |" for row in shown]
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{chr(10).join(table)}\n{END}{rest.partition(END)[2]}"


def reliability() -> str:
    """The page on faults with its table."""
    text = RELIABILITY.read_text(encoding="utf-8")
    found = json.loads((RESULTS / f"{FAULTS}.json").read_text(encoding="utf-8"))
    table = ["| fault | tried | survived | lost | |", "|---|---|---|---|---|"]
    for one in found["faults"]:
        said = f"not tried: {one['skipped']}" if one["skipped"] else "; ".join(one["notes"])
        table.append(f"| {one['fault']} | {one['tried']:,} | {one['survived']:,} | {one['lost']} | {said} |")
    table.append(f"\n`{found['command']}`, {found['seconds']} s, on {found['where']}")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{chr(10).join(table)}\n{END}{rest.partition(END)[2]}"


def performance() -> str:
    """The page on speed and memory with its table, which shows the spread of single rounds."""
    text = PERFORMANCE.read_text(encoding="utf-8")
    rows = measured().get("performance", [])
    table = ["| figure | value | rounds | goal | measured on, or against |", "|---|---|---|---|---|"]
    table += [f"| {r.name} | {r.value:g} {r.unit} | {r.spread} | {goal(r)} | {r.against} |" for r in rows]
    before, _, rest = text.partition(BEGIN)
    machines = "\n".join(dict.fromkeys(f"- {row.where}" for row in rows))
    return f"{before}{BEGIN}\n{chr(10).join(table)}\n\nMeasured on\n\n{machines}\n{END}{rest.partition(END)[2]}"


def reranking() -> str:
    """The page on the second look with its table at the end."""
    text = RERANKING.read_text(encoding="utf-8")
    table = "\n".join(section("reranking", measured()["reranking"])[1:])
    return f"{text.partition(BEGIN)[0]}{BEGIN}\n{table}\n{END}\n"


if __name__ == "__main__":
    PERFORMANCE.write_text(performance(), encoding="utf-8")
    RERANKING.write_text(reranking(), encoding="utf-8")
    RELIABILITY.write_text(reliability(), encoding="utf-8")
    QUALITY.write_text(quality(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
