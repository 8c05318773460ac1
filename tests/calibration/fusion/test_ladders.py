"""Ladders say what every order of asking encoders gives and costs."""

import itertools
import json
from functools import cache

import numpy as np
import pytest
from scipy.special import log_softmax

from lmm_classifier.calibration.fusion.cascade import Stage
from lmm_classifier.calibration.fusion.encoder_fusion import EncoderFusion
from lmm_classifier.calibration.fusion.ladders import (
    Ladder,
    asked_fractions,
    ladders_from_json,
    ladders_to_json,
    measure_ladders,
    prices,
)
from lmm_classifier.calibration.guarantees.risk_control import fixed_sequence_threshold
from lmm_classifier.calibration.predictions import HeldOutPredictions
from tests.calibration.fusion.test_cascade import EACH, fit, held_out

TIMES = (2.0, 10.0, 1.0)


@cache
def measured(names="abc", times=TIMES, more=()):
    return {
        ladder.name: ladder
        for ladder in measure_ladders(fit(*EACH, *(held_out(1.0, seed) for seed in more)), names, times, 0.9, 0.1)
    }


@pytest.mark.long
def test_every_encoder_every_fusion_and_every_order_is_measured():
    """Each once."""
    found = measured()
    fusions = [" + ".join(part) for size in (1, 2, 3) for part in itertools.combinations("abc", size)]
    cascades = [" -> ".join(order) for size in (2, 3) for order in itertools.permutations("abc", size)]
    assert sorted(found) == sorted(fusions + cascades)
    assert all(ladder.cascaded == ("->" in name) for name, ladder in found.items())
    assert measure_ladders(fit(EACH[0]), "a", [1.0], 0.9, 0.1) == ()


def test_a_ladder_has_the_figures_of_its_own_predictions():
    """Accuracy, coverage at the target, the fraction asked of each encoder, and the time of an image."""
    found = measured()
    for name, steps in (("b -> a", [(1,), (1, 0)]), ("a + b", [(0, 1)]), ("c", [(2,)])):
        cascade, predictions, reached = fit().cascade(steps)
        ladder = found[name]
        assert ladder.accuracy == predictions.correct.mean()
        asked = (1.0, reached.mean()) if ladder.cascaded else (1.0,) * len(cascade.encoders)
        assert ladder.asked == pytest.approx(asked)
        assert ladder.milliseconds == pytest.approx(
            sum(TIMES[place] * share for place, share in zip(cascade.encoders, asked))
        )
        guarantee = fixed_sequence_threshold(predictions.confidence, predictions.correct, 1 - 0.9, 0.1)
        assert ladder.coverage == getattr(guarantee, "coverage", 0.0)
    assert found["c"].coverage == 0.0
    assert found["a + b"].coverage > found["a"].coverage
    assert found["a -> b"].milliseconds < found["a + b"].milliseconds


def test_a_time_that_is_not_known_is_none():
    """Of every ladder with this encoder, and of no other."""
    found = measured(times=(2.0, None, 1.0))
    assert all((ladder.milliseconds is None) == ("b" in name) for name, ladder in found.items())


def test_of_many_encoders_only_some_orders_are_measured():
    """Each alone, their fusion, and the cascade in the order of the configuration: others are too many."""
    found = measured("abcde", (1.0,) * 5, more=(6, 7))
    assert list(found) == [*"abcde", "a + b + c + d + e", "a -> b -> c -> d -> e"]


def test_of_four_encoders_every_order_is_measured():
    """64 orders of one to four, and the 11 fusions of more than one."""
    rng = np.random.default_rng(0)
    truth = np.arange(12) % 3
    each = [
        HeldOutPredictions(np.arange(12), truth, logs, [logs], rng.normal(size=12))
        for logs in log_softmax(rng.normal(size=(4, 12, 3)), axis=2)
    ]
    ladders = measure_ladders(fit(*each, equal=True, countable=np.ones(12, bool)), "abcd", (1.0,) * 4, 0.9, 0.1)
    assert len({ladder.name for ladder in ladders}) == len(ladders) == 64 + 11
    assert "d -> b -> c -> a" in {ladder.name for ladder in ladders}


def test_without_examples_there_is_no_accuracy():
    """It is not a number, and nothing is covered."""
    none = np.empty((0, 3))
    each = [HeldOutPredictions(np.arange(0), np.arange(0), none, [none], np.empty(0)) for _ in "ab"]
    for ladder in measure_ladders(fit(*each, countable=np.ones(0, bool)), "ab", (1.0, 2.0), 0.9, 0.1):
        assert np.isnan(ladder.accuracy)
        assert ladder.coverage == 0.0


def ladder(names, cascaded, accuracy=0.9, coverage=0.5, milliseconds=None):
    return Ladder(tuple(names), cascaded, accuracy, coverage, 0.95, (1.0,) * len(names), milliseconds)


def test_prices_compare_cascades_of_all_encoders_with_their_fusion():
    """By the change of accuracy and coverage, and the fraction of the time; other ladders are left aside."""
    fast, slow = ladder("abc", True, 0.89, 0.4, 4.0), ladder("cba", True, 0.93, 0.75, 12.0)
    alone, pair, part = ladder("a", False, 0.8, 0.1, 2.0), ladder("ab", False, 0.8, 0.1, 6.0), ladder("ab", True)
    found = prices([alone, pair, part, fast, ladder("abc", False, 0.9, 0.5, 16.0), slow])
    assert [entry[0] for entry in found] == [fast, slow]
    np.testing.assert_allclose([entry[1:] for entry in found], [(-0.01, -0.1, 0.25), (0.03, 0.25, 0.75)])


@pytest.mark.parametrize(("of_cascade", "of_fusion"), [(None, 16.0), (4.0, None), (None, None)])
def test_a_price_without_a_measured_time_has_no_fraction(of_cascade, of_fusion):
    """The other changes are there."""
    found = prices([ladder("ab", False, milliseconds=of_fusion), ladder("ab", True, milliseconds=of_cascade)])
    assert [entry[1:] for entry in found] == [(0.0, 0.0, None)]


def test_without_a_fusion_there_is_no_price():
    """Nothing to compare with: no ladder at all, or cascades only."""
    assert prices([]) == []
    assert prices([ladder("ab", True)]) == []
    assert prices([ladder("a", False), ladder("ab", True)]) == []


def test_asked_fractions_follow_the_encoders():
    """A stage may ask two encoders more; without examples nobody is asked."""
    one = EncoderFusion(np.ones(1))
    stages = [Stage((1,), one, 0.5), Stage((1, 0, 2), one, 0.5), Stage((1, 0, 2, 3), one)]
    assert asked_fractions(stages, np.array([0, 0, 1, 2])) == (1.0, 0.5, 0.5, 0.25)
    assert asked_fractions(stages, np.zeros(0, np.int64)) == (0.0,) * 4


def test_they_are_read_back():
    """As text that every JSON parser reads, if there are examples."""
    ladders = tuple(measured().values())
    assert ladders_from_json(ladders_to_json(ladders)) == ladders
    assert ladders_from_json("[]") == ()
    json.loads(ladders_to_json(ladders), parse_constant=pytest.fail)
    for text in ("", "3", "[3]", "[{}]", '[{"encoders": ["a"]}]', json.dumps([{**ladders[0].to_dict(), "more": 1}])):
        with pytest.raises((TypeError, KeyError, ValueError)):
            ladders_from_json(text)


def test_a_name_says_how_they_are_asked():
    """An encoder alone is called by its own name."""
    rest = (0.9, 0.5, 0.95, (1.0, 1.0), None)
    assert Ladder(("a", "b"), True, *rest).name == "a -> b"
    assert Ladder(("a", "b"), False, *rest).name == "a + b"
    assert Ladder(("a",), False, *rest).name == "a"
