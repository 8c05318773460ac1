"""A file of results is read back exactly; a torn record is told, anything else is refused with its place."""

import pytest

from lmm_classifier.cli.stored_results import StoredResult, StoredResults
from lmm_classifier.cli.writers import HEADS, RECORDS
from lmm_classifier.core.datatypes import Classification, Decision
from lmm_classifier.core.errors import OutputError

NAMES = ["x.jpg", "=cmd|' /C calc'!A0", "a\nb\r\udcff.png", '"; -1', "-", "'=1"]
RESULTS = [
    *(
        Classification(f"@{n}", 0.5, False, Decision("accept", "confident"), (), path=n, content_hash="12")
        for n in NAMES
    ),
    Classification("unknown", 0.0, False, Decision("reject", "unreadable"), (), path="bad", error="bad: is bad"),
]


def written(tmp_path, output_format, torn=""):
    path = tmp_path / f"results.{output_format}"
    text = HEADS[output_format] + "".join(RECORDS[output_format](result, "1-2") for result in RESULTS) + torn
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


@pytest.mark.parametrize("output_format", ["jsonl", "csv"])
@pytest.mark.parametrize("torn", ["", '{"path": "y', '"a\nb\n', "x"])
def test_results_are_read_back(tmp_path, output_format, torn):
    """For names that a spreadsheet could run, and of any bytes."""
    path = written(tmp_path, output_format, torn)
    if output_format == "jsonl" and torn.startswith('"'):
        path = written(tmp_path, output_format, '{"')
    stored = StoredResults.read(path, output_format)
    expected = {name: StoredResult(name, "12", f"@{name}", "accepted", "1-2") for name in NAMES}
    assert stored.by_path == {**expected, "bad": StoredResult("bad", "", "unknown", "unreadable", "1-2")}
    assert (stored.bytes + stored.torn_bytes, stored.run) == (path.stat().st_size, "1-2")
    assert (stored.torn_bytes > 0) == bool(torn)


@pytest.mark.parametrize(
    ("output_format", "text"),
    [("jsonl", "[]\n"), ("jsonl", "{}\n"), ("jsonl", "\0\0\n"), ("csv", "a,b\n1,2\n"), ("csv", HEADS["csv"] + "1,2\n")],
)
def test_other_files_are_refused(tmp_path, output_format, text):
    """The error names the file; nothing is changed."""
    path = tmp_path / "other"
    path.write_text(text)
    with pytest.raises(OutputError, match=str(path)):
        StoredResults.read(path, output_format)
    assert path.read_text() == text


def test_no_file_holds_no_result(tmp_path):
    """A missing file and an empty one can be continued."""
    assert StoredResults.read(tmp_path / "missing", "csv").by_path == {}
    (tmp_path / "empty").touch()
    assert StoredResults.read(tmp_path / "empty", "csv") == StoredResults()
