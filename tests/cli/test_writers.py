"""The three formats show the same results, for file names of any bytes."""

import csv
import io
import json
from dataclasses import replace

from lmm_classifier.cli.writers import CSV_COLUMNS, HEADS, RECORDS
from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Neighbor

NEIGHBOR = Neighbor(Example("a/1.jpg", "a"), 0.75)
CANDIDATE = Candidate("a", 0.9, (NEIGHBOR,))
ACCEPT, UNREADABLE = Decision("accept", "confident"), Decision("reject", "unreadable")
RESULTS = [
    Classification("a", 0.9, False, ACCEPT, (CANDIDATE,), 0.75, 0.1, "x.jpg"),
    Classification("unknown", 0.0, False, UNREADABLE, (), path="b\nad.jpg", error="b\nad.jpg: broken"),
]


def written(name):
    return HEADS[name] + "".join(RECORDS[name](result, "") for result in RESULTS)


def test_a_table_has_one_line_per_result():
    """A line break in a file name is escaped."""
    lines = written("table").splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["label", "score", "reason", "file", "why"]
    assert lines[1].startswith("a ")
    assert "0.90  confident" in lines[1]
    assert "b\\nad.jpg" in lines[2]


def test_json_lines_hold_whole_results():
    """One object per line."""
    lines = [json.loads(line) for line in written("jsonl").splitlines()]
    assert [line["label"] for line in lines] == ["a", "unknown"]
    assert lines[0]["candidates"][0]["neighbors"][0]["path"] == "a/1.jpg"
    assert lines[1]["path"] == "b\nad.jpg"


def test_csv_has_the_nearest_example():
    """Missing values are empty."""
    first, second = csv.DictReader(io.StringIO(written("csv")))
    assert tuple(first) == CSV_COLUMNS
    assert (first["score"], first["nearest_path"], first["nearest_label"]) == ("0.900000", "a/1.jpg", "a")
    assert (second["path"], second["similarity"], second["nearest_path"]) == ("b\nad.jpg", "", "")
    assert second["error"] == "b\nad.jpg: broken"


def test_csv_names_the_encoders_that_were_asked():
    """They are in one cell; with one encoder it is empty."""
    text = HEADS["csv"] + "".join(
        RECORDS["csv"](replace(RESULTS[0], encoders=names), "") for names in ((), ("lite", "descriptor"))
    )
    assert [row["encoders"] for row in csv.DictReader(io.StringIO(text))] == ["", "lite; descriptor"]
