"""A classifier learns a metric from new images: they never become evidence, and results say so."""

from pathlib import Path

import pytest

from lmm_classifier.core.errors import ClosedError
from lmm_classifier.pipeline.adapting.learned_flow import with_learned_metric
from lmm_classifier.pipeline.adapting.new_images import NewImages
from lmm_classifier.pipeline.adapting.reports import LEARNED
from lmm_classifier.pipeline.flow import Query, no_pixels
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.run_identity import run_identity, same_settings
from tests.helpers.vector_indexes import nested_embeddings


def new_files(drawn):
    return sorted((drawn / "new").rglob("*.png"))


def test_the_evidence_stays_labeled(classifier, drawn):
    """Every neighbor is an example, the results are marked, and a run has another identity."""
    before, plain = run_identity(classifier), list(classifier.classify_paths(new_files(drawn)))
    metric = classifier.retriever.encoders[0].fit.rule.metric
    report = classifier.learn_from(new_files(drawn))
    assert report.is_used
    assert report.images == 48
    assert 0.5 <= report.accuracy <= 1
    assert not classifier.retriever.encoders[0].fit.rule.metric.equals(metric)
    results = list(classifier.classify_paths(new_files(drawn)))
    examples = set(classifier.index.contents.paths)
    neighbors = {n.example.path for result in results for c in result.candidates for n in c.neighbors}
    assert neighbors <= examples
    assert all(result.adaptations == (LEARNED,) for result in results)
    assert results[0].to_dict()["adaptations"] == [LEARNED]
    assert "adaptations" not in plain[0].to_dict()
    right = [sum(r.candidates[0].label == Path(r.path).parent.name for r in some) for some in (plain, results)]
    assert right[1] >= right[0] - 2
    assert not same_settings(before, run_identity(classifier))
    assert classifier.thresholds.confidence.source == "default"


@pytest.mark.long
def test_it_is_reproducible_and_does_not_depend_on_the_order(classifier, fused, drawn):
    """The same images in another order give the same labels; two encoders are judged one by one."""
    classifier.learn_from(new_files(drawn))
    first = [result.label for result in classifier.classify_paths(new_files(drawn))]
    classifier.learn_from(new_files(drawn)[::-1])
    assert [result.label for result in classifier.classify_paths(new_files(drawn))] == first
    report = fused.learn_from(new_files(drawn))
    assert {*report.accuracy_before} == {*fused.retriever.names}
    assert report.is_used


def test_without_a_readable_image_nothing_changes(classifier, tmp_path):
    """The report says why."""
    report = classifier.learn_from([tmp_path / "missing.png"])
    assert not report.is_used
    assert report.unreadable == 1
    assert "no unlabeled image" in report.text
    assert classifier._current_flow().adaptations == ()


def test_coarse_labels_are_no_more_answered(coarse_flow, caplog):
    """Their thresholds are of the former metric, and it says so; results have the way to their label all the same."""
    new, _ = nested_embeddings(part=1, count=20)

    def answers(flow):
        return flow.classify(QueryVectors.given(new), [Query(no_pixels)] * len(new))

    assert any(result.is_rolled_up for result in answers(coarse_flow))
    adapted, report = with_learned_metric(coarse_flow, (), NewImages((new,), len(new), 0))
    assert report.is_used
    assert adapted.thresholds.coarse == {}
    assert "No coarse label is answered" in caplog.text
    results = answers(adapted)
    assert not any(result.is_rolled_up for result in results)
    assert {result.label_path for result in results} >= {("tops", "shirt"), ("bottoms", "skirt")}


@pytest.mark.long
def test_a_closed_classifier_learns_nothing(classifier):
    """As every other use of it."""
    classifier.close()
    with pytest.raises(ClosedError):
        classifier.learn_from([])
