"""A cascade asks the next encoder where its answer may change, and says what it would have answered."""

import json

import numpy as np
import pytest
from scipy.special import log_softmax

from lmm_classifier.calibration.fusion.cascade import NEVER, Cascade, FusionFit, Stage
from lmm_classifier.calibration.fusion.encoder_fusion import EncoderFusion
from lmm_classifier.calibration.fusion.fusion_weights import fit_weights
from lmm_classifier.calibration.predictions import HeldOutPredictions

COUNT, CLASSES = 400, 4
TRUTH = np.random.default_rng(0).integers(0, CLASSES, COUNT)


def held_out(skill, seed):
    """Predictions of an encoder whose evidence for the true label has this strength."""
    rng = np.random.default_rng(seed)
    logs = log_softmax(rng.normal(size=(COUNT, CLASSES)) + skill * np.eye(CLASSES)[TRUTH], axis=1)
    neighbors = log_softmax(logs + rng.normal(size=logs.shape) / 10, axis=1)
    experts = [logs, log_softmax(2 * logs, axis=1), neighbors]
    return HeldOutPredictions(np.arange(COUNT), TRUTH, logs, experts, rng.normal(size=COUNT))


EACH = [held_out(1.5, 1), held_out(2.5, 2), held_out(0.0, 3)]


def fit(*each, equal=False, countable=None):
    return FusionFit(each or EACH, np.ones(COUNT, bool) if countable is None else countable, equal)


def test_useless_encoders_are_left_out():
    """Whichever place they have; without known groups all are kept, with equal weights."""
    assert fit().useful() == (0, 1)
    assert fit(EACH[2], EACH[0], EACH[1]).useful() == (1, 2)
    assert fit(equal=True).useful() == (0, 1, 2)
    assert fit(EACH[2]).useful() == (0,)
    assert len(fit(EACH[2], held_out(0.0, 4)).useful()) == 1
    np.testing.assert_array_equal(fit(equal=True).stage([0, 1, 2]).fusion.weights, 1 / 3)


def test_a_copy_of_an_encoder_changes_no_answer():
    """Both have the same weight, so the product ranks the labels as one of them does."""
    fitted = fit(EACH[1], EACH[1]).stage([0, 1])
    np.testing.assert_array_equal(fitted.answers, EACH[1].log_probabilities.argmax(axis=1))
    assert fitted.fusion.weights[0] == pytest.approx(fitted.fusion.weights[1])


def test_examples_that_do_not_count_have_no_effect_on_the_weights():
    """An example alone under its label is wrong for every encoder."""
    some = np.arange(COUNT) % 3 > 0
    broken = [HeldOutPredictions(p.rows, p.label_ids, p.log_probabilities.copy(), [], p.familiarity) for p in EACH]
    broken[0].log_probabilities[~some] = np.log([0.97, 0.01, 0.01, 0.01])
    expected = fit(countable=some).stage([0, 1]).fusion.weights
    np.testing.assert_array_equal(fit(*broken, countable=some).stage([0, 1]).fusion.weights, expected)


def test_a_stage_asks_the_next_where_the_answer_would_change():
    """It is asked about 98 % of the examples whose answer changes with all encoders, and no lower limit does so."""
    fitted = fit()
    cascade, _, _ = fitted.cascade([(0,), (0, 1)])
    first, final = fitted.stage([0]), fitted.stage([0, 1])
    changed = first.answers != final.answers
    limit = cascade.stages[0].ask_up_to
    asked = (first.confidence[changed] <= limit).mean()
    assert 0.98 <= asked < 1
    assert (first.confidence[changed] < limit).mean() < 0.98
    assert cascade.stages[1].ask_up_to == NEVER
    assert cascade.encoders == (0, 1)


@pytest.mark.parametrize("steps", [[(0,), (0, 1)], [(0,), (0, 1), (0, 1, 2)]])
def test_predictions_are_those_of_the_stage_that_was_reached(steps):
    """Label, probability and familiarity; a stage is reached only through those before."""
    fitted = fit()
    cascade, predictions, reached = fitted.cascade(steps)
    stages = [fitted.stage(step) for step in steps]
    last = len(steps) - 1
    assert set(reached.tolist()) == set(range(len(steps)))
    expected = np.zeros(COUNT, int)
    for row in range(COUNT):
        while expected[row] < last and stages[expected[row]].confidence[row] <= cascade.stages[expected[row]].ask_up_to:
            expected[row] += 1
    np.testing.assert_array_equal(reached, expected)
    for row in range(COUNT):
        stage = stages[reached[row]]
        np.testing.assert_array_equal(predictions.log_probabilities[row], stage.log_probabilities[row])
        assert predictions.familiarity[row] == stage.familiarity[row]
    np.testing.assert_array_equal(predictions.label_ids, TRUTH)
    assert predictions.each == tuple(EACH)


def test_fusion_is_a_cascade_of_one_stage():
    """Every example is answered by all encoders at once, better than by either alone."""
    fitted = fit()
    cascade, predictions, reached = fitted.cascade([(0, 1)])
    assert len(cascade.stages) == 1
    assert not reached.any()
    np.testing.assert_array_equal(predictions.log_probabilities, fitted.stage([0, 1]).log_probabilities)
    assert predictions.correct.mean() > max(EACH[0].correct.mean(), EACH[1].correct.mean())


def test_one_encoder_keeps_its_predictions():
    """Bit for bit, with all its experts, and is itself the only stage."""
    cascade, predictions, reached = fit(EACH[1]).cascade([(0,)])
    np.testing.assert_array_equal(predictions.log_probabilities, EACH[1].log_probabilities)
    np.testing.assert_array_equal(predictions.familiarity, EACH[1].familiarity)
    for found, expected in zip(predictions.expert_log_probabilities, EACH[1].expert_log_probabilities, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (predictions.each, reached.any(), cascade.encoders) == ((), False, (0,))
    fusion = cascade.stages[0].fusion
    assert (fusion.weights.tolist(), fusion.center, fusion.spread) == ([1.0], 0.0, 1.0)


def test_answers_that_never_change_ask_nobody():
    """The next encoder agrees everywhere."""
    cascade, _, reached = fit(EACH[1], EACH[1]).cascade([(0,), (0, 1)])
    assert cascade.stages[0].ask_up_to == NEVER
    assert not reached.any()


def test_of_encoders_that_all_mislead_one_is_left():
    """There is no answer without an encoder."""
    misleading = fit(held_out(-1.0, 5), held_out(-1.5, 6))
    assert len(misleading.useful()) == 1
    assert len(fit(held_out(-1.0, 5), held_out(-1.5, 6), held_out(-2.0, 7)).useful()) == 1


def test_the_encoder_farthest_below_its_error_is_left_out_first(monkeypatch):
    """The others are fitted again without it, and are useful then."""
    fits = {
        3: np.array([-2.0, 0.9, 5.0]),
        2: np.array([1.1, 6.0]),
    }
    monkeypatch.setattr("lmm_classifier.calibration.fusion.cascade.weight_evidence", lambda logs, _: fits[len(logs)])
    assert fit().useful() == (1, 2)


def test_a_misleading_encoder_that_is_asked_has_next_to_no_weight():
    """It changes no answer; its weight is still above zero, so that the cascade can be stored and read back."""
    fitted = fit(EACH[1], held_out(-1.5, 6))
    stage = fitted.stage([0, 1])
    assert 0 < stage.fusion.weights[1] < 1e-6
    np.testing.assert_array_equal(stage.answers, EACH[1].log_probabilities.argmax(axis=1))
    cascade, _, _ = fitted.cascade([(0,), (0, 1)])
    assert Cascade.from_json(cascade.to_json(), 2).to_json() == cascade.to_json()


@pytest.mark.parametrize("equal", [False, True])
def test_each_expert_is_the_fusion_of_that_expert_of_each_encoder(equal):
    """By weights of their own: those of the stages belong to the fitted rules."""
    for places in ((0, 1), (1, 0, 2)):
        each = [EACH[place] for place in places]
        _, predictions, _ = fit(*each, equal=equal).cascade([tuple(range(len(each)))])
        _, in_steps, _ = fit(*each, equal=equal).cascade([(0,), tuple(range(len(each)))])
        assert predictions.each == tuple(each)
        assert len(predictions.expert_log_probabilities) == 3
        for number, found in enumerate(predictions.expert_log_probabilities):
            logs = [encoder.expert_log_probabilities[number] for encoder in each]
            weights = np.full(len(each), 1 / len(each)) if equal else fit_weights(logs, TRUTH)
            np.testing.assert_allclose(found, EncoderFusion(weights).log_probabilities(logs), atol=1e-6)
            np.testing.assert_array_equal(in_steps.expert_log_probabilities[number], found)


def test_of_several_encoders_one_may_answer_alone():
    """Its own experts are those of the fusion then."""
    cascade, predictions, reached = fit().cascade([(1,)])
    np.testing.assert_array_equal(predictions.log_probabilities, EACH[1].log_probabilities)
    np.testing.assert_array_equal(predictions.familiarity, EACH[1].familiarity)
    for found, expected in zip(predictions.expert_log_probabilities, EACH[1].expert_log_probabilities, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (predictions.each, cascade.encoders, reached.any()) == (tuple(EACH), (1,), False)


def test_a_stage_that_always_asks_is_read_back():
    """No label has a probability above 1."""
    stages = (Stage((0,), EncoderFusion(np.ones(1)), 1.0), Stage((0, 1), EncoderFusion(np.ones(2))))
    assert Cascade.from_json(Cascade(stages).to_json(), 2).stages[0].ask_up_to == 1.0


CASCADE = Cascade(
    (
        Stage((2,), EncoderFusion(np.ones(1)), 0.75),
        Stage((2, 0), EncoderFusion(np.array([0.5, 0.25]), 1.0, 2.0), 0.1 + 0.2),
        Stage((2, 0, 1), EncoderFusion(np.array([0.5, 0.25, 0.125]), 1.0, 2.0)),
    )
)


def test_it_is_read_back_exactly():
    """Every number, so that the same images are asked about."""
    again = Cascade.from_json(CASCADE.to_json(), 3)
    assert again.to_json() == CASCADE.to_json()
    assert [stage.ask_up_to for stage in again.stages] == [0.75, 0.1 + 0.2, NEVER]
    assert [stage.encoders for stage in again.stages] == [(2,), (2, 0), (2, 0, 1)]
    json.loads(CASCADE.to_json(), parse_constant=pytest.fail)


def damaged(place, **change):
    stages = json.loads(CASCADE.to_json())
    stages[place].update(change)
    return json.dumps(stages)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", "3", "null", "[3]", "[{}]", "[null]",
        damaged(0, encoders=[]), damaged(0, encoders=[3], weights=[1.0]), damaged(0, encoders=[-1]),
        damaged(0, encoders=[0]), damaged(0, encoders=[2, 2], weights=[1.0, 1.0]), damaged(0, encoders="2x"),
        damaged(1, encoders=[0, 2]), damaged(1, encoders=[2], weights=[1.0]), damaged(2, encoders=[2, 0, 3]),
        damaged(1, weights=[1.0]), damaged(1, weights=[1.0, 0.0]), damaged(1, weights=None),
        damaged(1, ask_up_to=1.001), damaged(1, ask_up_to="x"), damaged(1, ask_up_to=float("nan")),
        damaged(1, spread=-1), damaged(1, center=None),
    ],
)  # fmt: skip
def test_a_damaged_cascade_is_refused(text):
    """It would ask other encoders or weigh them otherwise."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        Cascade.from_json(text, 3)


def test_a_place_below_zero_is_refused():
    """Also where every stage names it."""
    stages = [stage.to_dict() for stage in CASCADE.stages]
    below = [{**stage, "encoders": [{2: -1}.get(place, place) for place in stage["encoders"]]} for stage in stages]
    with pytest.raises(ValueError, match="impossible stages"):
        Cascade.from_json(json.dumps(below), 3)


def test_an_encoder_cannot_be_asked_twice():
    """Not in a stage alone either."""
    twice = Cascade((Stage((1, 1), EncoderFusion(np.ones(2))),))
    with pytest.raises(ValueError, match="impossible stage"):
        Cascade.from_json(twice.to_json(), 3)


def test_an_encoder_that_the_index_lacks_is_refused():
    """The same text fits three encoders, but not two."""
    with pytest.raises(ValueError, match="impossible stages"):
        Cascade.from_json(CASCADE.to_json(), 2)
