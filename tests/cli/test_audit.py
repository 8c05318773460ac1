"""The findings of an audit can be opened in a spreadsheet: no label or file name is a formula."""

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
