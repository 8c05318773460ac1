"""After the correction the mean probability of each label is its share of the held-out examples."""

import numpy as np

from lmm_classifier.calibration.priors.bias_correction import BiasCorrection
from lmm_classifier.core.numerics import log_softmax


def drawn(seed, count=300, labels=4):
    """Log-probabilities with a systematic error, and true labels of unequal frequency."""
    rng = np.random.default_rng(seed)
    label_ids = rng.choice(labels, count, p=np.arange(1, labels + 1) / np.arange(1, labels + 1).sum())
    scores = rng.normal(size=(count, labels)) + 2 * np.eye(labels)[label_ids]
    return log_softmax(scores + rng.normal(size=labels)), label_ids


def test_mean_probabilities_are_the_shares():
    """Within a thousandth, whatever the error was."""
    for seed in range(5):
        logs, label_ids = drawn(seed)
        correction = BiasCorrection.fit(logs, label_ids)
        means = np.exp(correction.correct(logs)).mean(axis=0)
        assert np.allclose(means, np.bincount(label_ids) / len(label_ids), atol=1e-3)
        assert np.array_equal(correction.log_probabilities, correction.correct(logs))


def test_a_single_example_is_not_measured():
    """Held out, its label is impossible; a label without an example takes no part either."""
    logs, label_ids = drawn(0, labels=3)
    logs = np.hstack([logs, np.full((300, 2), -5.0)])
    label_ids[0], logs[0, 3] = 3, -np.inf
    correction = BiasCorrection.fit(logs, label_ids)
    assert correction.is_measured.tolist() == [True, True, True, False, False]
    assert not correction.biases[3:].any()
    assert np.isfinite(correction.biases).all()
    assert len(correction.log_probabilities) == 299


def test_nothing_is_corrected_without_an_example():
    """Every label has one example only."""
    logs = np.where(np.eye(3) > 0, -np.inf, np.log(0.5))
    correction = BiasCorrection.fit(logs, np.arange(3))
    assert np.array_equal(correction.correct(np.log(np.full((1, 3), 1 / 3))), log_softmax(np.zeros((1, 3))))
