"""A setting comes from its flag, then from --set, then from the --config file, then from the defaults."""

import json
from pathlib import Path

from tests.helpers.command_line import OFFLINE, run


def test_flags_come_before_set_before_the_file(place, tmp_path):
    """One rule for all settings."""
    text = Path(OFFLINE).read_text(encoding="utf-8")
    (tmp_path / "own.yaml").write_text(f"unknown_label: from-file\n{text}", encoding="utf-8")
    common = ["classify", place / "new/stripes/00.png", "--config", tmp_path / "own.yaml", "--format", "jsonl"]
    common += ["--set", "retrieval.open_set_threshold=1", "--set", "retrieval.index_path=nowhere.npz"]
    done = run(*common, "--index", place / "index.npz")
    assert json.loads(done.stdout)["label"] == "from-file"
    done = run(*common, "--index", place / "index.npz", "--set", "unknown_label=from-set")
    assert json.loads(done.stdout)["label"] == "from-set"
    assert "nowhere.npz" in run(*common, code=1).stderr


def test_logs_can_be_json(place):
    """With `logging.json_lines` every log line on standard error is an object."""
    done = run(
        "classify", "new/stripes/00.png", "--index", "index.npz", "--config", OFFLINE,
        "--set", "logging.json_lines=true", "--format", "jsonl", cwd=place,
    )  # fmt: skip
    records = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert any("descriptor" in record["message"] for record in records)
