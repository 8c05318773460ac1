"""`info` shows what is in an index, for people and as JSON."""

import json

from lmm_classifier.cli.info import _stage_lines
from tests.helpers.command_line import OFFLINE, run


def test_encoder_labels_and_sizes(place):
    """The default index comes from the configuration."""
    text = run("info", "index.npz", cwd=place).stdout
    for part in ("descriptor", "20", "stripes", "MB", "block_whitening"):
        assert part in text
    assert "none: `lmm-classifier calibrate index.npz` fits the rule" in text
    assert "familiarity_threshold: fitted when the index is opened" in text
    described = json.loads(run("info", "--json", "--set", "retrieval.index_path=index.npz", cwd=place).stdout)
    assert described["labels"] == {"gingham": 5, "herringbone": 5, "polka_dots": 5, "stripes": 5}


def test_each_threshold_has_its_source(index_file):
    """From the calibration, or from the configuration, which comes first."""
    run("calibrate", index_file, "--keep-known", 0.8, "--config", OFFLINE)
    text = run("info", index_file).stdout
    assert "confidence_threshold: 0.7000, default" in text
    assert "keep_known: 0.8000, calibration of " in text
    assert "simplest of the best" in text
    text = run("info", index_file, "--set", "retrieval.open_set_threshold=0.5").stdout
    assert "open_set_threshold: 0.5000 (cosine similarity), configuration" in text
    assert "familiarity_threshold" not in text


def test_what_is_asked_is_said_in_words(index_file):
    """Which images the reranker is asked about before it was measured, and which ones the encoders after the first."""
    run("calibrate", index_file, "--config", OFFLINE)
    text = run("info", index_file, "--config", OFFLINE).stdout
    assert "reranking: not measured, so every image whose labels compete is asked about; `lmm-classifier cali" in text
    text = run("info", index_file, "--config", OFFLINE, "--set", "rerank.enabled=false").stdout
    assert "reranking: not measured; `lmm-classifier calibrate --rerank" in text
    stages = [{"encoders": ["a"], "weights": [1.0], "ask_up_to": 0.469269}]
    stages.append({"encoders": ["a", "b"], "weights": [0.5, 0.25], "ask_up_to": None})
    assert _stage_lines(stages) == [
        "weights of the encoders, for every image: a 1",
        "weights of the encoders, for images with a confidence of at most 0.4693: a 0.5, b 0.25",
    ]
