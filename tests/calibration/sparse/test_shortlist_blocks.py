"""A calibration for answers from a shortlist goes through the shortlist."""

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.sparse import shortlist_blocks as module
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors import shortlist
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.gathering.left_out_shortlist import LeftOutShortlist
from lmm_classifier.neighbors.leave_one_out import LeaveOneOut
from lmm_classifier.neighbors.metric import fit_scatter, gallery_in_metric
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderRetriever
from lmm_classifier.testing import clustered_embeddings

pytest.importorskip("faiss", reason="needs lmm-classifier[ann]")
LABELS = 30


@pytest.fixture(scope="module")
def drawn():
    """Return an index of 30 labels, and other images of them."""
    names = [f"label {number:02}" for number in range(LABELS) for _ in range(60)]
    rows = clustered_embeddings(np.random.default_rng(0), names, 24, spread=1.4)
    return Index.from_vectors(rows[::3], names[::3]), np.concatenate([rows[1::3], rows[2::3]])


@pytest.fixture(scope="module")
def index(drawn):
    return drawn[0]


def short(monkeypatch, rows=60, labels=2):
    """Let the shortlist be shorter than the index."""
    for home in (module, shortlist):
        monkeypatch.setattr(home, "SHORTLIST", rows)
    monkeypatch.setattr("lmm_classifier.pipeline.retrieval.encoder_retriever.SHORTLIST", rows)
    monkeypatch.setattr(shortlist, "_LABELS", labels)


@pytest.mark.long
def test_a_complete_shortlist_is_exact(index, monkeypatch):
    """Where the shortlist holds every row, the fit is the exact one, and no label is without a row."""
    short(monkeypatch, rows=700)
    exact, of_exact = fit_by_leave_one_out(RetrievalConfig(search="exact"), [index])
    listed, of_listed = fit_by_leave_one_out(RetrievalConfig(search="ann"), [index])
    np.testing.assert_allclose(of_listed.log_probabilities, of_exact.log_probabilities, atol=1e-3)
    np.testing.assert_allclose(of_listed.familiarity, of_exact.familiarity, atol=1e-3)
    assert exact.rule != listed.rule


@pytest.mark.parametrize("project_from", [0, 10**9], ids=["metric in the query", "rows in the metric"])
def test_left_out_rows_have_their_exact_cosines(index, monkeypatch, project_from):
    """Cosines, means and distances are those of exact leave-one-out for the rows on the shortlist."""
    monkeypatch.setattr("lmm_classifier.neighbors.metric.PROJECT_FROM", project_from)
    plain = index.gallery
    scatter = fit_scatter(plain.embeddings, plain.label_ids, LABELS)
    in_metric = gallery_in_metric(scatter.metric(0.3), plain)
    assert (in_metric.projected is None) == (project_from > 0)
    numbers, downdate = np.arange(0, 600, 41), 0.7 / scatter.freedom
    nearby = [np.arange(number % 50, 600, 3) for number in numbers]
    for gallery, options in [(plain, {}), (in_metric, {"downdate": downdate, "centered": True})]:
        found = LeftOutShortlist(gallery, **options).compare(numbers, nearby)
        ((_, exact),) = LeaveOneOut(gallery, **options).blocks(numbers)
        np.testing.assert_allclose(found.mean_cosines(), exact.mean_cosines(), atol=1e-6)
        np.testing.assert_allclose(found.square_distances(), exact.square_distances(), rtol=1e-6)
        for place, rows in enumerate(nearby):
            wanted = np.setdiff1d(rows, numbers[place])
            assert np.isin(wanted, found._rows_of(place)).all()
            assert numbers[place] not in found._rows_of(place)
            listed, cosines = found.nearest(place, 600)
            np.testing.assert_allclose(cosines, exact.similarities[place, listed], atol=2e-5)


def test_answers_and_held_out_examples_are_equally_sure(drawn, monkeypatch):
    """New images of the same labels are answered with the confidence that held-out examples had."""
    short(monkeypatch)
    index, images = drawn
    config = RetrievalConfig(search="ann")
    calibration, predictions = fit_by_leave_one_out(config, [index])
    assert 5 in calibration.fits[0].unread.lines
    scores = EncoderRetriever.open(config, index, calibration.fits[0], None).score(images, [])
    assert np.isfinite(scores.log_probabilities).all()
    sure = np.exp(scores.log_probabilities.max(axis=1)).mean()
    assert sure == pytest.approx(predictions.confidence.mean(), abs=0.03)
    assert scores.familiarity.mean() == pytest.approx(predictions.familiarity.mean(), abs=0.15)


def test_lines_of_labels_without_a_row(index, monkeypatch):
    """What is put for them is close to what a comparison with all rows gives, on average over them."""
    short(monkeypatch)
    gallery = index.gallery
    spec = make_rule(RetrievalConfig(search="ann"), gallery.label_ids, LABELS)
    assert spec.through_shortlist
    calibration, _ = fit_by_leave_one_out(RetrievalConfig(search="ann"), [index])
    fit = calibration.fits[0]
    retriever = EncoderRetriever.open(RetrievalConfig(search="ann"), index, fit, None)
    queries = clustered_embeddings(np.random.default_rng(0), list(map(str, range(60))), 24, spread=1.7)
    plain, listed = retriever._compare(queries, [])
    exact = retriever.metric_gallery.compare(fit.rule.metric.whiten(plain.embeddings))
    missing = np.isneginf(listed.pairs.label_means(5, gallery.label_ids[listed.pairs.rows], LABELS))
    assert 0.2 < missing.mean() < 0.95
    difference = (listed.top_k_mean(5) - exact.top_k_mean(5))[missing]
    assert abs(difference.mean()) < 0.05
    assert isinstance(gallery, Gallery)
