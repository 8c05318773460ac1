"""Ladders say what every order of asking encoders gives and costs."""

import itertools
import json
from functools import cache

import numpy as np
import pytest

from lmm_classifier.calibration.fusion.cascade import Stage
from lmm_classifier.calibration.fusion.encoder_fusion import EncoderFusion
from lmm_classifier.calibration.fusion.ladders import (
    Ladder,
    asked_fractions,
    ladders_from_json,
    ladders_to_json,
    measure_ladders,
)
from lmm_classifier.calibration.risk_control import fixed_sequence_threshold
from tests.calibration.fusion.test_cascade import EACH, fit, held_out

TIMES = (2.0, 10.0, 1.0)


@cache
def measured(names="abc", times=TIMES, more=()):
    return {
        ladder.name: ladder
        for ladder in measure_ladders(fit(*EACH, *(held_out(1.0, seed) for seed in more)), names, times, 0.9, 0.1)
    }


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
