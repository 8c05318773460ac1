"""Reports in one line, and as values that are JSON."""

import json

from lmm_classifier.pipeline.adapting.reports import LearningReport, PriorReport


def test_a_learned_metric_is_called_an_experiment():
    """Used for one encoder, not for the other."""
    report = LearningReport(True, 40, 1, {"descriptor": "too few"}, 4.0, {"lite": 0.5}, 0.625, 0.61, 0.08)
    assert report.text == (
        "learned metric (experiment): 40 unlabeled images; in virtual splits of the dataset accuracy 62.5% (without: "
        "lite 50.0%), mean confidence 61.0%; no guarantee holds; not used for descriptor: too few"
    )
    assert json.loads(json.dumps(report.to_dict()))["experiment"]


def test_a_refusal_says_why():
    """No figure is made up."""
    report = LearningReport(False, 40, 0, {"lite": "no unlabeled image is there"}, 4.0, {}, None, None, None)
    assert report.text == "learned metric (experiment): not used; lite: no unlabeled image is there"


def test_priors_name_the_labels_that_changed_most():
    """At most five, the largest change first."""
    shares = {f"label {number}": (0.1, 0.1 + number / 100) for number in range(7)}
    report = PriorReport(True, 50, 0, 7, 12.34, 1.5, shares, 3)
    assert report.text == (
        "label priors: estimated from 50 images, 7 unknown ones left out (gain 12.3 nats, usual up to 1.5): label 6 "
        "10% -> 16%, label 5 10% -> 15%, label 4 10% -> 14%, label 3 10% -> 13%, label 2 10% -> 12%; 3 images have "
        "another best label; no guarantee holds"
    )
    assert report.to_dict()["shares"]["label 1"] == {"dataset": 0.1, "images": 0.11}


def test_a_closed_gate_is_told():
    """Without held-out examples the usual gain has no number in JSON."""
    report = PriorReport(False, 0, 0, 0, 0.0, float("inf"), {}, 0)
    assert report.text.startswith("label priors: those of the dataset are used (gain 0.0 nats")
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["usual_gain"] is None
