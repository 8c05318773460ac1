"""Unlabeled images change the metric as the definition says, and no more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.neighbors.metric import fit_scatter
from lmm_classifier.neighbors.unlabeled_scatter import ASSIGNED_SHRINKAGE, assign_softly, fit_scatter_with_unlabeled
from lmm_classifier.testing import clustered_embeddings

LABELS = 3


def dataset(seed, per_label, unlabeled, dim=10):
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.repeat(np.arange(LABELS), per_label), np.arange(unlabeled) % LABELS])
    rows = clustered_embeddings(rng, [str(label) for label in ids], dim, spread=0.8)
    split = LABELS * per_label
    return rows[:split], ids[:split], rows[split:], ids[split:]


def by_definition(embeddings, label_ids, unlabeled):
    """Responsibilities and scatter, by explicit inverses and loops over the images."""
    rows, new = embeddings.astype(float), unlabeled.astype(float)

    def whitened(z, shrinkage):
        means = np.stack([rows[label_ids == label].mean(axis=0) for label in range(LABELS)])
        deviations = rows - means[label_ids]
        covariance = deviations.T @ deviations / (len(rows) - LABELS)
        target = np.trace(covariance) / rows.shape[1] * np.eye(rows.shape[1])
        values, vectors = np.linalg.eigh((1 - shrinkage) * covariance + shrinkage * target)
        mapped = (z - rows.mean(axis=0)) @ (vectors / np.sqrt(values)) @ vectors.T
        return mapped / np.linalg.norm(mapped, axis=1, keepdims=True)

    v, u = whitened(rows, 0.9), whitened(new, 0.9)
    start = np.stack([v[label_ids == label].sum(axis=0) for label in range(LABELS)])
    prototypes = start / np.linalg.norm(start, axis=1, keepdims=True)
    for _ in range(10):
        weights = np.exp(u @ prototypes.T / 0.05)
        weights /= weights.sum(axis=1, keepdims=True)
        prototypes = start + 0.3 * sum(np.outer(weight, image) for weight, image in zip(weights, u))
        prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    of_all, all_rows = np.vstack([np.eye(LABELS)[label_ids], weights]), np.vstack([rows, new])
    means = of_all.T @ all_rows / of_all.sum(axis=0)[:, None]
    deviations = all_rows - of_all @ means
    return weights, deviations.T @ deviations / (len(all_rows) - LABELS)


@pytest.mark.parametrize(("per_label", "unlabeled", "dim"), [(4, 60, 10), (2, 5, 40)], ids=["many", "few"])
def test_the_scatter_is_that_of_the_definition(per_label, unlabeled, dim):
    """Also where there are fewer rows than numbers in a row."""
    embeddings, label_ids, images, _ = dataset(0, per_label, unlabeled, dim)
    weights, covariance = by_definition(embeddings, label_ids, images)
    metric = fit_scatter(embeddings, label_ids, LABELS).metric(ASSIGNED_SHRINKAGE)
    assert np.allclose(assign_softly(metric, embeddings, label_ids, LABELS, images), weights, atol=1e-3)
    scatter = fit_scatter_with_unlabeled(embeddings, label_ids, LABELS, images)
    assert np.allclose((scatter.axes * scatter.variances) @ scatter.axes.T, covariance, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 30))
def test_the_order_of_the_images_does_not_matter(seed, per_label, unlabeled):
    """Up to rounding."""
    embeddings, label_ids, images, _ = dataset(seed, per_label, unlabeled)
    first, second = (
        fit_scatter_with_unlabeled(embeddings, label_ids, LABELS, rows).metric(0.6).whiten(embeddings)
        for rows in (images, images[::-1])
    )
    assert np.allclose(first, second, atol=1e-2 * np.abs(first).max())


def test_unlabeled_images_bring_the_metric_nearer_to_that_of_all_labels():
    """As if the labels of the images were known, nearly."""
    embeddings, label_ids, images, truth = dataset(3, 3, 300)
    ideal = fit_scatter(np.vstack([embeddings, images]), np.concatenate([label_ids, truth]), LABELS)

    def error(scatter):
        own, best = ((part.axes * part.variances) @ part.axes.T for part in (scatter, ideal))
        return np.linalg.norm(own - best)

    learned = fit_scatter_with_unlabeled(embeddings, label_ids, LABELS, images)
    assert error(learned) < 0.5 * error(fit_scatter(embeddings, label_ids, LABELS))


def test_a_label_without_examples_gets_no_image():
    """Its mean stays out of everything."""
    embeddings, label_ids, images, _ = dataset(0, 3, 20)
    metric = fit_scatter(embeddings, label_ids, LABELS + 1).metric(ASSIGNED_SHRINKAGE)
    assigned = assign_softly(metric, embeddings, label_ids, LABELS + 1, images)
    assert not assigned[:, LABELS].any()
    assert np.allclose(assigned.sum(axis=1), 1)
    scatter = fit_scatter_with_unlabeled(embeddings, label_ids, LABELS + 1, images)
    assert np.isfinite(scatter.metric(0.6).projection).all()


def test_without_images_it_is_the_scatter_of_the_examples():
    """Nothing is lost."""
    embeddings, label_ids, images, _ = dataset(0, 4, 0)
    own, learned = (
        fit_scatter(embeddings, label_ids, LABELS),
        fit_scatter_with_unlabeled(embeddings, label_ids, LABELS, images),
    )
    assert np.allclose(own.metric(0.6).projection, learned.metric(0.6).projection, rtol=1e-4, atol=1e-4)
