"""Label names join as an expert where they help, and change nothing where they do not."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.temperature import fit_temperature, log_losses
from lmm_classifier.calibration.zero_shot_text import ZeroShotText, fit_text_weight, weighted_product
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.voting import product
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.testing import clustered_embeddings, random_embeddings
from tests.helpers.vector_indexes import DIM, write_clusters

LABELS = [f"label {number:02}" for number in range(8) for _ in range(5)]


@pytest.fixture
def index(tmp_path):
    """Few examples of labels that spread widely, so that names can help."""
    return Index.open(write_clusters(tmp_path / "index.npz", LABELS, spread=2.5))


@pytest.fixture
def helpful():
    """Text embeddings at the true centers of the labels, as `clustered_embeddings` draws them."""
    return clustered_embeddings(np.random.default_rng(0), LABELS, DIM, 0.0)[::5]


def test_meaningful_names_get_a_weight(index, helpful):
    """Leave-one-out is more accurate with them."""
    without = fit_by_leave_one_out(RetrievalConfig(), [index])[1]
    calibration, predictions = fit_by_leave_one_out(RetrievalConfig(), [index], texts=[helpful])
    assert calibration.fits[0].rule.text is not None
    assert predictions.correct.mean() > without.correct.mean()


def test_meaningless_names_are_not_used(index):
    """The predictions are those without them."""
    texts = random_embeddings(np.random.default_rng(9), 8, DIM)
    calibration, predictions = fit_by_leave_one_out(RetrievalConfig(), [index], texts=[texts])
    without = fit_by_leave_one_out(RetrievalConfig(), [index])[1]
    assert calibration.fits[0].rule.text is None
    np.testing.assert_array_equal(predictions.log_probabilities, without.log_probabilities)


def test_weight_zero_is_the_product_of_the_other_experts():
    """The text then counts nothing."""
    rng = np.random.default_rng(0)
    others = [(rng.normal(size=(6, 4)), 0.5), (rng.normal(size=(6, 4)), 1.0)]
    np.testing.assert_allclose(weighted_product(others, (rng.normal(size=(6, 4)), 0.2), 0.0), product(others))


def test_the_text_counts_as_often_as_its_weight_says():
    """With weight 2 it is as two experts more; a label without a score of the others stays without one."""
    rng = np.random.default_rng(1)
    logs = [np.log(rng.dirichlet(np.ones(3), 4)) for _ in range(3)]
    others = [(0.5 * logs[0], 0.5), (2 * logs[1], 2.0)]
    expected = (logs[0] + logs[1] + 2 * logs[2]) / 4
    np.testing.assert_allclose(weighted_product(others, (0.1 * logs[2], 0.1), 2.0), expected)
    others[0][0][1, 2] = -np.inf
    assert np.isneginf(weighted_product(others, (0.1 * logs[2], 0.1), 2.0)[1, 2])


@pytest.mark.parametrize(
    ("quality", "skill", "weight"),
    [
        *(
            (0, 1.5, None),
            (0.8, 1.5, None),
            (1, 1.5, 1),
            (6, 0, 4),
            (6, 0.5, 2),
            (3, 3, 0.5),
            (6, 6, 0.25),
            (1, 5, None),
        ),
        *((1.1, 3, None), (1.15, 3, 0.5)),  # a gain of 0.94 and of 1.01 standard errors
    ],
)
def test_the_weight_is_the_best_of_five_and_must_help_by_a_standard_error(quality, skill, weight):
    """Each weight is tried by hand; the text joins only where its gain in log-loss exceeds the error of that gain."""
    rng = np.random.default_rng(4)
    label_ids = np.repeat(np.arange(4), 15)
    embeddings = clustered_embeddings(rng, [str(label) for label in label_ids], 16, 2.0)
    centers = np.stack([embeddings[label_ids == label].mean(axis=0) for label in range(4)])
    texts = (quality * centers + 0.25 * rng.normal(size=centers.shape)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    scores = rng.normal(size=(60, 4))
    scores[np.arange(60), label_ids] += skill
    expert, cosines = (scores, fit_temperature(scores, label_ids)), embeddings.astype(float) @ texts.T.astype(float)
    text = (cosines, fit_temperature(cosines, label_ids))
    losses = {}
    for tried in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0):
        combined = weighted_product([expert], text, tried)
        losses[tried] = log_losses(combined, label_ids, fit_temperature(combined, label_ids))
    best = min((0.25, 0.5, 1.0, 2.0, 4.0), key=lambda weight: losses[weight].mean())
    gain = losses[0.0] - losses[best]
    assert (weight is not None) == (gain.mean() > gain.std() / np.sqrt(60))
    found = fit_text_weight(texts, embeddings, label_ids, [expert])
    assert (found and found.weight) == weight
    if found is not None:
        assert (found.weight, found.temperature) == (best, pytest.approx(text[1], rel=1e-3))


def test_without_a_usable_example_no_text_joins():
    """Nothing can be measured where no true label has a score."""
    texts = np.eye(2, dtype=np.float32)
    nothing = np.array([[-np.inf, 0.0]])
    assert fit_text_weight(texts, texts[:1], np.array([0]), [(nothing, 1.0)]) is None


def test_scores_do_not_depend_on_the_batch():
    """Bit for bit."""
    rng = np.random.default_rng(0)
    text = ZeroShotText(random_embeddings(rng, 4, 33), 0.1, 1.0)
    embeddings = random_embeddings(rng, 7, 33)
    np.testing.assert_array_equal(text.scores(embeddings)[3:4], text.scores(embeddings[3:4]))
    assert text.scores(embeddings[:0]).shape == (0, 4)


def test_stored_arrays_are_checked(helpful):
    """The same embeddings are read back; a temperature of 0 is refused."""
    text = ZeroShotText(helpful, 0.1, 2.0)
    rebuilt = ZeroShotText.from_arrays(text.to_arrays())
    np.testing.assert_array_equal(rebuilt.embeddings, text.embeddings)
    assert (rebuilt.temperature, rebuilt.weight) == (0.1, 2.0)
    assert ZeroShotText.from_arrays(ZeroShotText(helpful, 0.1, 0.25).to_arrays()).weight == 0.25
    for settings in ([0.0, 1.0], [1.0, 0.0], [-1.0, 1.0], [1.0, -1.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="text embeddings"):
            ZeroShotText.from_arrays({**text.to_arrays(), "settings": np.array(settings)})
    for embeddings in (helpful[0], np.full_like(helpful, np.nan)):
        with pytest.raises(ValueError, match="text embeddings"):
            ZeroShotText.from_arrays({**text.to_arrays(), "embeddings": embeddings})


def test_a_stored_text_expert_scores_again(index, helpful, tmp_path):
    """It is part of the stored rule; for some labels only, the rule is fitted again without it."""
    config = RetrievalConfig()
    calibration, _ = fit_by_leave_one_out(config, [index], texts=[helpful])
    path = tmp_path / "with_text.npz"
    write_index(path, replace(index.contents, calibration=calibration.to_arrays(index.contents)))
    queries = QueryVectors.given(random_embeddings(np.random.default_rng(3), 5, DIM))
    with_text = Retriever.open(config, [Index.open(path)]).score(queries).log_probabilities
    without_text = Retriever.open(config, [index]).score(queries).log_probabilities
    assert not np.allclose(with_text, without_text)
    restricted = Retriever.open(config, [Index.open(path)], index.label_names[2:5])
    assert restricted.score(queries).log_probabilities.shape == (5, 3)
    assert restricted.calibration.fits[0].rule.text is None


def test_the_template_names_the_label():
    """A template without a place for the label is refused when the configuration is read."""
    with pytest.raises(ConfigError, match="zero_shot_template"):
        PipelineConfig().set("retrieval.zero_shot_template=a photo")
