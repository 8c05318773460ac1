"""Label names help where they mean something, and are silent where they do not."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.zero_shot_text import TextVoice, weighted
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError, ConfigError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.voting import open_recipe, product
from lmm_classifier.pipeline.calibrator import Wish, calibrate
from lmm_classifier.pipeline.retriever import Retriever
from lmm_classifier.testing import clustered_rows, unit_rows
from tests.calibration.test_calibration import write
from tests.helpers.corpora import draw_corpus

LABELS = [f"label {number:02}" for number in range(8) for _ in range(5)]


@pytest.fixture
def index(tmp_path):
    """Few examples of labels that spread widely: names can help."""
    return ExactIndex.open(write(tmp_path / "index.npz", LABELS, spread=2.5))


def meaningful(index):
    """Text rows near the true centres of the labels, as `clustered_rows` draws them."""
    return clustered_rows(np.random.default_rng(0), LABELS, 12, 0.0)[::5]


def test_names_that_mean_something(index):
    """They are heard, and leave-one-out gets better by it."""
    _, without = Calibration.fit(RetrievalConfig(), index)
    fitted, left_out = Calibration.fit(RetrievalConfig(), index, texts=meaningful(index))
    assert fitted.voices.text is not None
    assert left_out.right.mean() > without.right.mean()


def test_names_that_mean_nothing(index):
    """They are silent: the votes are those without them."""
    texts = unit_rows(np.random.default_rng(9), 8, 12)
    fitted, left_out = Calibration.fit(RetrievalConfig(), index, texts=texts)
    _, without = Calibration.fit(RetrievalConfig(), index)
    assert fitted.voices.text is None
    np.testing.assert_array_equal(left_out.log_probabilities, without.log_probabilities)


def test_weight_zero_and_batches():
    """Weight 0 is the product of the others; a row's scores do not depend on its batch."""
    rng = np.random.default_rng(0)
    others = [(rng.normal(size=(6, 4)), 0.5), (rng.normal(size=(6, 4)), 1.0)]
    text = (rng.normal(size=(6, 4)), 0.2)
    np.testing.assert_allclose(weighted(others, text, 0.0), product(others))
    voice = TextVoice(unit_rows(rng, 4, 33), 0.1, 1.0)
    units = unit_rows(rng, 7, 33)
    np.testing.assert_array_equal(voice.scores(units)[3:4], voice.scores(units[3:4]))


def test_state_survives_and_damage_is_seen(index):
    """The same rows come back; a temperature of 0 is refused; no voice stays none."""
    fitted, _ = Calibration.fit(RetrievalConfig(), index, texts=meaningful(index))
    again = TextVoice.restore(fitted.voices.text.state())
    np.testing.assert_array_equal(again.rows, fitted.voices.text.rows)
    assert TextVoice.restore({}) is None
    with pytest.raises(ValueError, match="text rows"):
        TextVoice.restore({"text.rows": again.rows, "text.settings": np.array([0.0, 1.0])})


def test_with_a_real_text_tower(tiny_encoder, tmp_path):
    """A SigLIP checkpoint without training: its text tower is asked, and what it says weighs nothing."""
    encoder = tiny_encoder("siglip")
    draw_corpus(tmp_path / "corpus", count=6, size=48)
    config = PipelineConfig()
    config.encoder.model = str(encoder)
    build_index_from_directory(tmp_path / "corpus", tmp_path / "index.npz", config=config)
    outcome = calibrate(tmp_path / "index.npz", config, Wish())
    assert any("label names" in note for note in outcome.notes)
    config.retrieval.text = "off"
    outcome = calibrate(tmp_path / "index.npz", config, Wish())
    assert not any("label names" in note for note in outcome.notes)
    config.encoder.model = str(tmp_path / "nowhere")
    config.retrieval.text = "auto"
    with pytest.raises(CalibrationError, match="retrieval.text=off"):
        calibrate(tmp_path / "index.npz", config, Wish())


def test_stored_and_restricted(index, tmp_path):
    """A stored voice is heard again; with some labels only the rule is fitted anew, without it."""
    config = RetrievalConfig()
    fitted, _ = Calibration.fit(config, index, texts=meaningful(index))
    recipe = open_recipe(config, index.label_ids, 8)
    path = tmp_path / "with.npz"
    write_index(path, replace(index.contents, calibration=fitted.state(index.contents, recipe)))
    queries = unit_rows(np.random.default_rng(3), 5, 12)
    heard = Retriever(config, ExactIndex.open(path)).votes(queries).scores
    silent = Retriever(config, index).votes(queries).scores
    assert not np.allclose(heard, silent)
    some = Retriever(config, ExactIndex.open(path), index.label_names[2:5]).votes(queries).scores
    assert some.shape == (5, 3)


def test_the_template_names_the_label():
    """A template without a place for the label is refused when the configuration is read."""
    with pytest.raises(ConfigError, match="text_template"):
        PipelineConfig().set("retrieval.text_template=a photo")
