"""The cost page shows what was measured of encoders and reranker, and says whether reranking helps."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.fusion.ladders import Ladder
from lmm_classifier.core.datatypes import RerankResult
from lmm_classifier.evaluation.reports.cost_page import CURVE_HEAD, write_cost_page
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.rerank.benefit import Trial, fit_benefit
from tests.helpers.vector_indexes import write_clusters
from tests.html.html_page import assert_harmless


def measured(skill):
    """The benefit of a reranker that is correct with the probability `skill`, of 200 trials."""
    rng = np.random.default_rng(0)
    trials = []
    for _ in range(200):
        probabilities = np.sort(rng.dirichlet(np.ones(3) * 0.4))[::-1]
        labels = tuple(rng.permutation(["a <b>", "b\udcff", "c"]))
        truth = labels[rng.choice(3, p=probabilities)]
        answer = truth if rng.random() < skill else rng.choice([label for label in labels if label != truth])
        scores = tuple(0.8 if label == answer else 0.1 for label in labels)
        trials.append(Trial(labels, probabilities, truth, RerankResult(scores, disagreement=0.1), 1.0))
    return fit_benefit("model@1", trials, [(trial.labels, trial.probabilities) for trial in trials], 0.98, None)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    """A calibration of one encoder, without a reranker."""
    path = write_clusters(tmp_path_factory.mktemp("cost") / "index.npz")
    return fit_by_leave_one_out(RetrievalConfig(), [Index.open(path)])[0]


@pytest.mark.parametrize(
    ("skill", "sentence"),
    [
        (0.95, "Reranking helps on this dataset."),
        (0.2, "Reranking does not help on this dataset, so it is disabled."),
    ],
)
def test_the_page_says_whether_reranking_helps(tmp_path, calibration, skill, sentence):
    """One chart with four lines, the table of the curve, the pairs of labels, and the sentence."""
    write_cost_page(str(tmp_path / "page.html"), replace(calibration, reranker_benefit=measured(skill)))
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert sentence in page.text
    assert "Measured on 200 held-out examples" in page.text
    assert len(page.all("svg")) == 1
    kinds = [path["class"] for path in page.all("path") if path["class"].startswith("line")]
    assert kinds == ["line gate", "line threshold", "line random", "line oracle"]
    assert all(name in page.text for name in CURVE_HEAD)
    assert "a <b>" in page.text
    assert "b\\udcff" in page.text


def ladders(times):
    """Two encoders alone, fused, and in a cascade."""
    names = [("small <b>",), ("large",), ("small <b>", "large"), ("small <b>", "large")]
    return tuple(
        Ladder(name, number == 3, 0.9 + number / 100, 0.5 + number / 10, 0.95, (1.0, 0.25)[: len(name)], time)
        for number, (name, time) in enumerate(zip(names, times))
    )


def test_the_page_compares_ladders_of_encoders(tmp_path, calibration):
    """A row of each, with its share of images and its time, and accuracy and coverage over time."""
    write_cost_page(tmp_path / "page.html", replace(calibration, ladders=ladders([1.0, 8.0, 9.0, 3.0])))
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    for text in ("small <b> -> large", "small <b> + large", "93.0", "80.0", "100, 25", "3.0", "most accurate"):
        assert text in page.text
    assert len(page.all("svg")) == 2
    assert "Reranking" not in page.text


def test_without_times_there_is_no_chart_over_time(tmp_path, calibration):
    """An index that another program wrote knows no times; with a reranker its own chart remains."""
    without = replace(calibration, ladders=ladders([1.0, None, None, None]))
    write_cost_page(tmp_path / "page.html", without)
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not page.all("svg")
    assert "small <b> -> large" in page.text
    write_cost_page(tmp_path / "page.html", replace(without, reranker_benefit=measured(0.95)))
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(page.all("svg")) == 1
    assert "small <b> -> large" in page.text
    assert "Reranking helps on this dataset." in page.text
