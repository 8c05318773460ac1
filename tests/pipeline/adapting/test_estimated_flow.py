"""A classifier estimates the priors of new images, and uses them where they changed."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lmm_classifier.pipeline.adapting.estimated_flow import with_estimated_priors
from lmm_classifier.pipeline.adapting.new_images import NewImages
from lmm_classifier.pipeline.adapting.reports import ESTIMATED, LEARNED
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
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


def test_unknown_images_do_not_count(coarse_flow):
    """However many they are: the estimate is that of the others alone, and all unknown ones leave the gate closed."""
    new, truth = nested_embeddings(part=1, count=20)
    chosen = new[np.isin(truth, ["shirt", "hat"])]
    unknown = np.random.default_rng(0).normal(size=(300, new.shape[1])).astype(np.float32)
    unknown /= np.linalg.norm(unknown, axis=1, keepdims=True)
    least = coarse_flow.thresholds.familiarity_threshold
    scored = coarse_flow.retriever.score(QueryVectors.given(unknown))
    unknown = unknown[scored.familiarity < least]
    assert len(unknown) > 50
    _, alone = with_estimated_priors(coarse_flow, (), NewImages((chosen,), len(chosen), 0))
    _, mixed = with_estimated_priors(coarse_flow, (), NewImages((np.concatenate([chosen, unknown]),), 0, 0))
    assert mixed == replace(alone, unknown=alone.unknown + len(unknown))
    assert f"{mixed.unknown} unknown ones left out" in mixed.text
    adapted, none = with_estimated_priors(coarse_flow, (), NewImages((unknown,), 0, 0))
    assert (none.is_used, none.images, none.unknown, adapted) == (False, 0, len(unknown), coarse_flow)


def test_without_an_image_the_gate_is_closed(classifier):
    """Nothing fails."""
    report = classifier.estimate_priors([])
    assert (report.is_used, report.images) == (False, 0)
