"""A second look is measured, used where it pays, and switched off where it does not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.datatypes import Reranked
from lmm_classifier.rerank.benefit import Asked, SecondLook, candidates_needed, choose_whom_to_ask, fit_second_look
from lmm_classifier.rerank.summary import figures, frontier, frontier_rows, summary


def made(count, skill, seed=0, labels=("a", "b", "c"), failing=0.0):
    """Asked examples: retrieval's shares are honest, the reranker is right with the chance `skill`."""
    rng = np.random.default_rng(seed)
    asked = []
    for _ in range(count):
        shares = np.sort(rng.dirichlet(np.ones(3) * 0.4))[::-1]
        order = tuple(rng.permutation(labels))
        truth = order[rng.choice(3, p=shares)]
        other = rng.choice([label for label in labels if label != truth])
        says = truth if rng.random() < skill else other
        scores = tuple(0.8 if label == says else 0.1 for label in order)
        answer = Reranked((), 0.0, "down") if rng.random() < failing else Reranked(scores, disagreement=0.1)
        asked.append(Asked(order, shares, truth, answer, 1.0))
    return asked


def fitted(asked, **wished):
    every = [(one.labels, one.shares) for one in asked]
    return fit_second_look("model@1", asked, every, wished.get("gain_share", 0.98), wished.get("most_calls"))


def test_a_good_model_pays():
    """It is asked where labels compete, gains, and is not asked where retrieval is sure."""
    found = fitted(made(400, 0.95))
    assert found.outcomes.pays
    said = figures(found)
    assert said["accuracy"]["gate"] > said["accuracy"]["retrieval"] + 0.1
    assert said["accuracy"]["gate"] >= said["accuracy"]["fused_everywhere"] - 0.01
    assert 0 < said["calls_per_1000"] < 800
    assert found.worth(("a", "b", "c"), np.array([0.5, 0.4, 0.1]))
    assert not found.worth(("a", "b", "c"), np.array([0.98, 0.01, 0.01]))
    assert "it pays" in summary(found)[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("skill", [0.1, 1 / 3])
def test_a_useless_model_is_switched_off(skill, seed):
    """At chance or worse the net gain is not above zero: it says so and asks nobody."""
    found = fitted(made(300, skill, seed))
    assert not found.outcomes.pays
    assert not found.worth(("a", "b", "c"), np.array([0.4, 0.35, 0.25]))
    assert "do not bother" in summary(found)[0]
    assert figures(found)["accuracy"]["fused_everywhere"] >= figures(found)["accuracy"]["retrieval"] - 0.03


def test_it_learns_for_which_pairs():
    """A model that knows some labels and guesses on others is asked about the ones it knows."""
    asked = made(300, 0.97, 1, ("a", "b", "c")) + made(300, 1 / 3, 2, ("x", "y", "z"))
    found = fitted([asked[i] for i in np.random.default_rng(0).permutation(600)])
    doubt = np.array([0.5, 0.4, 0.1])
    assert found.worth(("a", "b", "c"), doubt)
    assert not found.worth(("x", "y", "z"), doubt)
    lines = frontier(found.outcomes)
    at = [float(np.interp(0.2, lines[calls], lines[name])) for calls, name in
          (("calls", "gate"), ("threshold_calls", "threshold"), ("calls", "random"))]  # fmt: skip
    assert at[0] > at[1] + 0.02 > at[2]


def test_failures_are_harmless():
    """Where it gave no answer retrieval's stands."""
    found = fitted(made(300, 0.95, failing=0.5))
    assert 100 < found.outcomes.failed.sum() < 200
    failed = found.outcomes.failed
    np.testing.assert_array_equal(found.outcomes.fused[failed], found.outcomes.retrieval[failed])


def test_calls_are_bounded():
    """No more calls per 1000 than allowed."""
    found = fitted(made(400, 0.95), most_calls=0.1)
    assert figures(found)["calls_per_1000"] <= 130


def test_frontier():
    """All lines begin with retrieval; the oracle is never below, and ends where no more can be rescued."""
    found = fitted(made(400, 0.9))
    lines = frontier(found.outcomes)
    base = float(found.outcomes.retrieval.mean())
    for name in ("gate", "random", "threshold", "oracle"):
        assert lines[name][0] == pytest.approx(base)
    grid = np.linspace(0, 1, 21)
    oracle = np.interp(grid, lines["oracle_calls"], lines["oracle"])
    for calls, name in (("calls", "gate"), ("threshold_calls", "threshold"), ("calls", "random")):
        assert (np.interp(grid, lines[calls], lines[name]) <= oracle + 1e-9).all()
    assert lines["gate"][-1] == pytest.approx(float(found.outcomes.fused.mean()))
    assert len(frontier_rows(found.outcomes)) == 8


def test_state():
    """What is stored is what was measured; what is impossible is refused."""
    found = fitted(made(60, 0.9))
    again = SecondLook.restore(found.state())
    assert summary(again) == summary(found)
    assert again.reliability == found.reliability
    assert again.worth(("a", "b"), np.array([0.5, 0.5])) == found.worth(("a", "b"), np.array([0.5, 0.5]))
    for name, values in (("fusion", [-1.0, 0]), ("gate", [0.1, 40]), ("outcomes.gain", [1.0])):
        with pytest.raises(ValueError):
            SecondLook.restore({**found.state(), name: np.array(values)})


def test_few_asked():
    """With next to nothing to go by nothing breaks."""
    for count in (1, 2, 6):
        found = fitted(made(count, 1.0))
        assert summary(found)[0].startswith("second look")
        assert len(frontier_rows(found.outcomes)) == 8


def test_candidates_needed():
    """As many as hold the true label at the wished rate where there is doubt; two at least, the limit at most."""
    shares = np.array([[0.9, 0.05, 0.03, 0.02]] * 95 + [[0.3, 0.27, 0.23, 0.2]] * 5)
    truth = np.array([0] * 95 + [2] * 5)
    assert candidates_needed(shares, truth, 0.5, 10) == 2
    assert candidates_needed(shares, truth, 0.98, 10) == 3  # the doubtful five count most
    assert candidates_needed(shares, truth, 0.98, 2) == 2
    assert candidates_needed(shares, np.full(100, 3), 1.0, 10) == 4


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 2**31))
def test_whom_to_ask(count, budget, seed):
    """Never more than the budget, the doubtful for certain rather than the sure, weights that stand for all."""
    rng = np.random.default_rng(seed)
    best, chance = rng.uniform(0.2, 1, count), rng.random(count)
    rows, weights = choose_whom_to_ask(best, chance, budget)
    assert len(rows) == min(count, budget)
    assert (np.diff(rows) > 0).all()
    assert (weights >= 1 - 1e-9).all()


def test_the_weights_are_honest():
    """Weighted means of the sample are those of the whole, and a larger budget asks about the same ones and more."""
    rng = np.random.default_rng(0)
    best = rng.beta(8, 1, 2000)
    right = rng.random(2000) < best
    estimates = []
    for _ in range(40):
        rows, weights = choose_whom_to_ask(best, rng.random(2000), 200)
        estimates.append((weights * right[rows]).sum() / weights.sum())
    assert np.mean(estimates) == pytest.approx(right.mean(), abs=0.01)
    chance = rng.random(2000)
    few, more = (choose_whom_to_ask(best, chance, budget)[0] for budget in (100, 400))
    assert np.isin(few, more).mean() > 0.9
    assert replace(made(1, 1.0)[0], weight=2.0).weight == 2.0
