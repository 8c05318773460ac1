"""The reranking page shows what was measured, and says whether reranking helps."""

import numpy as np
import pytest

from lmm_classifier.core.datatypes import RerankResult
from lmm_classifier.evaluation.reports.rerank_page import CURVE_HEAD, write_rerank_page
from lmm_classifier.rerank.benefit import Trial, fit_benefit
from tests.evaluation.reports.html_page import assert_harmless


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


@pytest.mark.parametrize(
    ("skill", "sentence"),
    [
        (0.95, "Reranking helps on this dataset."),
        (0.2, "Reranking does not help on this dataset, so it is disabled."),
    ],
)
def test_the_page_says_whether_reranking_helps(tmp_path, skill, sentence):
    """One chart with four lines, the table of the curve, the pairs of labels, and the sentence."""
    write_rerank_page(str(tmp_path / "page.html"), measured(skill))
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert sentence in page.text
    assert "Measured on 200 held-out examples" in page.text
    assert len(page.all("svg")) == 1
    kinds = [path["class"] for path in page.all("path") if path["class"].startswith("line")]
    assert kinds == ["line gate", "line threshold", "line random", "line oracle"]
    assert all(name in page.text for name in CURVE_HEAD)
    assert "a <b>" in page.text
    assert "b\\udcff" in page.text
