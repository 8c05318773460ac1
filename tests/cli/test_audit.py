"""`audit` pages through the labels to check, and takes its own table of edits back."""

import csv
import json
import shutil

from lmm_classifier.core.csv_cells import read_rows
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset


def test_no_cell_of_the_findings_is_a_formula(tmp_path):
    """Each is read back as it was."""
    draw_dataset(tmp_path / "dataset", ["stripes", "gingham"], count=3, size=32)
    (tmp_path / "dataset/stripes").rename(tmp_path / "dataset/=1+1")
    run("build", "dataset", "--output", "index.npz", "--config", OFFLINE, cwd=tmp_path)
    run("audit", "index.npz", "--config", OFFLINE, "--csv", "findings.csv", cwd=tmp_path)
    text = (tmp_path / "findings.csv").read_text(encoding="utf-8")
    assert ",=" not in text
    assert "\n=" not in text
    labels = {row["label"] for row in read_rows(text.splitlines(keepends=True), "findings.csv")}
    assert {"=1+1", "gingham"} <= labels


def test_from_suspects_to_corrections(tmp_path):
    """Wrong labels that were planted are listed over two pages, corrected in the table, and gone afterwards."""
    dataset = draw_dataset(tmp_path / "dataset", count=8, size=48)
    wrong = [shutil.move(dataset / "gingham" / f"{row:02}.png", dataset / "stripes" / f"=g{row}.png") for row in (3, 5)]
    run("build", "dataset", "--config", OFFLINE, cwd=tmp_path)

    def audit(*arguments, code=0):
        return run("audit", "--config", OFFLINE, *arguments, cwd=tmp_path, code=code)

    whole = audit("--json", "a.json", "--edits", "edits.csv", "--limit", "100").stdout
    issues = json.loads((tmp_path / "a.json").read_text())["label_issues"]
    assert "wrong labels expected" in whole
    first = audit("--limit", "1").stdout
    assert f"1. {issues[0]['path']}" in first
    assert f"{len(issues) - 1} more labels to check: --offset 1" in first
    rest = audit("--offset", "1", "--limit", "100").stdout
    assert f"2. {issues[1]['path']}" in rest
    assert "more labels to check" not in rest

    with (tmp_path / "edits.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0][:3] == ["path", "action", "label"]
    assert {f"stripes/{path.name}" for path in wrong} <= {row[0] for row in rows}
    for row in rows[1:]:
        if row[0] in {f"stripes/{path.name}" for path in wrong}:
            row[1] = "relabel"
    with (tmp_path / "edits.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    edited = (tmp_path / "edits.csv").read_bytes()
    assert "exists already and may hold your corrections" in audit("--edits", "edits.csv", code=1).stderr
    assert (tmp_path / "edits.csv").read_bytes() == edited
    done = audit("--apply", "edits.csv").stdout
    assert "2 relabeled" in done
    assert "stripes/=g3.png: stripes -> gingham" in done
    refused = audit("--apply", "a.json", code=1)
    assert "expected one column each of path, action, label" in refused.stderr
