"""After an adaptation coarse labels are answered only where their thresholds still mean something."""

import numpy as np
import pytest

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.pipeline.adapting.estimated_flow import with_estimated_priors
from lmm_classifier.pipeline.adapting.learned_flow import with_learned_metric
from lmm_classifier.pipeline.adapting.new_images import NewImages
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.flow import Query, no_pixels
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from tests.helpers.vector_indexes import nested_embeddings, write_nested

NEW, TRUTH = nested_embeddings(part=1, count=20)


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """What decides by an index with a hierarchy of folders."""
    path = write_nested(tmp_path_factory.mktemp("adapted") / "index", dataset="dataset#label_from=path", count=25)
    config = PipelineConfig.preset("vectors")
    config.retrieval.index_path = path
    report = calibrate_index(path, config, CalibrationRequest(0.9))
    assert report.levels.thresholds
    assert "threshold of coarse labels, level 1" in report._repr_html_()
    with HybridClassifier(config) as classifier:
        yield classifier._current_flow()


def results_of(flow, vectors=NEW):
    return flow.classify(QueryVectors.given(vectors), [Query(no_pixels)] * len(vectors))


def test_a_learned_metric_has_no_coarse_answers(flow):
    """Their thresholds are of the former metric; results have the way to their label all the same."""
    assert any(result.is_rolled_up for result in results_of(flow))
    adapted, report = with_learned_metric(flow, (), NewImages((NEW,), len(NEW), 0))
    assert report.is_used
    assert adapted.thresholds.coarse == {}
    results = results_of(adapted)
    assert not any(result.is_rolled_up for result in results)
    assert {result.label_path for result in results} >= {("tops", "shirt"), ("bottoms", "skirt")}


def test_other_priors_are_not_certified(flow):
    """The thresholds stay and say so, as that of labels does."""
    chosen = NEW[np.isin(TRUTH, ["shirt", "hat"])]
    adapted, report = with_estimated_priors(flow, (), NewImages((chosen,), len(chosen), 0))
    assert report.is_used
    for threshold in (adapted.thresholds.confidence, *adapted.thresholds.coarse.values()):
        assert threshold.source.endswith("not certified for other label priors")
    values = {depth: threshold.value for depth, threshold in adapted.thresholds.coarse.items()}
    assert values == {depth: threshold.value for depth, threshold in flow.thresholds.coarse.items()}
    assert all(result.adaptations == ("estimated_priors",) for result in results_of(adapted))
