"""A classifier estimates the priors of new images, and uses them where they changed."""

from pathlib import Path

import numpy as np

from lmm_classifier.pipeline.adapting.estimated_flow import with_estimated_priors
from lmm_classifier.pipeline.adapting.new_images import NewImages
from lmm_classifier.pipeline.adapting.reports import ESTIMATED, LEARNED
from tests.helpers.vector_indexes import nested_embeddings


def of_labels(drawn, *labels):
    return [file for label in labels for file in sorted((drawn / "new" / label).glob("*.png"))]


def test_changed_priors_are_used(classifier, drawn):
    """Two labels look alike to this encoder; if one of them is absent, the other one gains."""
    files = of_labels(drawn, "blue_right")
    before = [result.candidates[0].label for result in classifier.classify_paths(files)]
    report = classifier.estimate_priors(files)
    assert report.is_used
    assert report.shares["blue_right"][1] > report.shares["blue_right"][0]
    assert np.isclose(sum(new for _, new in report.shares.values()), 1)
    results = list(classifier.classify_paths(files))
    after = [result.candidates[0].label for result in results]
    assert after.count("blue_right") > before.count("blue_right")
    assert report.changed == sum(one != two for one, two in zip(before, after))
    assert all(result.adaptations == (ESTIMATED,) for result in results)
    assert "not certified for other label priors" in classifier.thresholds.confidence.source
    assert np.isclose(sum(candidate.score for candidate in results[0].candidates), 1)


def test_the_priors_of_the_dataset_change_nothing(classifier, drawn):
    """The gate is closed: the results are the same, bit for bit."""
    files = of_labels(drawn, "blue_left", "blue_right", "green", "red")
    before = list(classifier.classify_paths(files))
    report = classifier.estimate_priors(files)
    assert not report.is_used
    assert report.changed == 0
    assert list(classifier.classify_paths(files)) == before


def test_both_adaptations_work_together(fused, drawn):
    """The priors are then compared with the virtual splits of the learned metric."""
    everything = of_labels(drawn, "blue_left", "blue_right", "green", "red")
    assert fused.learn_from(everything).is_used
    green = of_labels(drawn, "green")
    assert fused.estimate_priors(green).is_used
    results = list(fused.classify_paths(green))
    assert all(result.adaptations == (LEARNED, ESTIMATED) for result in results)
    assert {result.candidates[0].label for result in results} == {"green"}
    assert all(Path(result.path).parent.name == "green" for result in results)


def test_coarse_labels_are_not_certified_either(coarse_flow):
    """Their thresholds stay and say so, as that of labels does."""
    new, truth = nested_embeddings(part=1, count=20)
    chosen = new[np.isin(truth, ["shirt", "hat"])]
    adapted, report = with_estimated_priors(coarse_flow, (), NewImages((chosen,), len(chosen), 0))
    assert report.is_used
    former, coarse = coarse_flow.thresholds.coarse, adapted.thresholds.coarse
    assert {depth: found.value for depth, found in coarse.items()} == {depth: t.value for depth, t in former.items()}
    for threshold in (adapted.thresholds.confidence, *coarse.values()):
        assert threshold.source.endswith("not certified for other label priors")


def test_without_an_image_the_gate_is_closed(classifier):
    """Nothing fails."""
    report = classifier.estimate_priors([])
    assert (report.is_used, report.images) == (False, 0)
