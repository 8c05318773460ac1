"""`calibrate --rerank` measures the reranker, `report` shows it, `classify` asks where it helps."""

import json
import sqlite3
from contextlib import closing

import pytest
import yaml

from lmm_classifier.data.synthetic.shapes import draw_labeled
from tests.fixtures import TRAINED_TEMPLATE
from tests.helpers.command_line import run
from tests.helpers.tiny_qwen2_vl import CHECKPOINT, needs_torch

SETTINGS = {
    "encoder": {"backend": "descriptor"},
    "allow_unknown": False,
    "retrieval": {"index_path": "index.npz"},
    "rerank": {
        "model_name": str(CHECKPOINT),
        "prompt_template": TRAINED_TEMPLATE,
        "model": {"dtype": "float32", "batch_size": 16},
        "prompt": {"min_visual_tokens": 4, "max_visual_tokens": 4},
    },
}


@pytest.fixture
def shapes(tmp_path):
    """A small dataset of drawn shapes with its index, new images, and a configuration with the tiny Qwen2-VL."""
    for folder, per_class, seed in (("dataset", 7, 11), ("new", 4, 22)):
        for number, (label, image) in enumerate(draw_labeled(per_class, seed=seed)):
            (tmp_path / folder / label).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / folder / label / f"{number:04}.png")
    (tmp_path / "lmm.yaml").write_text(yaml.safe_dump(SETTINGS))
    run("build", "dataset", "--config", "lmm.yaml", cwd=tmp_path)
    return tmp_path


def stored_answers(folder):
    with closing(sqlite3.connect(folder / "index.answers.sqlite")) as connection:
        return connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0]


@pytest.mark.long
def test_measure_report_and_classify(shapes):
    """A second classification asks nothing: the answers are stored next to the index."""
    needs_torch()
    missing = run("report", "index.npz", cwd=shapes, code=1)
    assert "no calibration is stored that can be used. Run `lmm-classifier calibrate index.npz`." in missing.stderr
    run("calibrate", "index.npz", "--config", "lmm.yaml", cwd=shapes)
    missing = run("report", "index.npz", cwd=shapes, code=1)
    assert "Run `lmm-classifier calibrate index.npz --rerank`, or build it with several encoders" in missing.stderr
    text = run("calibrate", "--rerank", "--max-calls", 40, "--config", "lmm.yaml", cwd=shapes).stdout
    assert "Reranking helps on this dataset" in text
    assert "measured on: 40 held-out examples, 0 without an answer" in text
    assert "calls per 1000 images" in text
    report = run("report", "index.npz", "--output", "report.html", "--json", "report.json", cwd=shapes)
    assert "accuracy by calls" in report.stdout
    assert "Report written to report.html" in report.stdout
    figures = json.loads((shapes / "report.json").read_text())
    assert figures["accuracy"]["fused_everywhere"] >= figures["accuracy"]["retrieval"]
    assert len(figures["curve"]) == 8
    described = run("info", "index.npz", cwd=shapes).stdout
    assert "reranking: helps; net gain " in described
    assert "\\n" not in described
    assert "<svg" in (shapes / "report.html").read_text()
    first = run("classify", "new", "--format", "jsonl", "--config", "lmm.yaml", cwd=shapes)
    results = [json.loads(line) for line in first.stdout.splitlines()]
    asked = [result for result in results if result["used_reranker"]]
    assert asked
    assert all(result["reason"] == "reranked" and 0 <= result["disagreement"] <= 1 for result in asked)
    assert all(0 < result["score"] <= 1 for result in results)
    count = stored_answers(shapes)
    again = run("classify", "new", "--format", "jsonl", "--config", "lmm.yaml", cwd=shapes)
    assert again.stdout == first.stdout
    assert stored_answers(shapes) == count
