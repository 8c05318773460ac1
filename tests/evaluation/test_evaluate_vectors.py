"""Labeled vectors are evaluated without those that the index holds."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import DatasetError, VectorError
from lmm_classifier.evaluation.evaluate_vectors import evaluate_vectors
from lmm_classifier.evaluation.reports.evaluation_page import write_evaluation_page
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.testing import clustered_embeddings

LABELS = ["cat"] * 20 + ["dog"] * 20 + ["eel"] * 10
VECTORS = clustered_embeddings(np.random.default_rng(0), LABELS, 16, 0.8)
NEW, NEW_LABELS = VECTORS[::2], LABELS[::2]


@pytest.fixture
def classifier():
    known = list(range(1, 40, 2))
    index = Index.from_vectors(VECTORS[known], [LABELS[row] for row in known])
    with HybridClassifier(PipelineConfig.preset("vectors"), index=index) as opened:
        yield opened


def test_the_figures_are_those_of_the_results(classifier):
    """Each vector counts once; labels that the index does not have are of unknown images."""
    evaluation = evaluate_vectors(NEW, NEW_LABELS, classifier, ids=[f"id {row}" for row in range(25)])
    results = classifier.classify_vectors(NEW)
    assert (len(evaluation.known), len(evaluation.unknowns), len(evaluation.unreadable)) == (20, 5, 0)
    assert evaluation.confidence.tolist() == [result.score for result in results[:20]]
    assert evaluation.known[3].result.path == "id 3"
    figures = evaluation.to_dict(classifier.retriever.calibration.familiarity_threshold)
    assert figures["accuracy"]["fraction"] > 0.8
    assert evaluation.familiarity_threshold == classifier.thresholds.novelty.value
    for entry in (*evaluation.known, *evaluation.unknowns):
        assert entry.result.is_unknown == (entry.result.familiarity < evaluation.familiarity_threshold)


def test_a_page_shows_ids_and_opens_no_file(classifier, tmp_path):
    """Also where an id is the name of an image that is there."""
    image = tmp_path / "image.png"
    Image.new("RGB", (20, 20)).save(image)
    names = [str(image), f"../{tmp_path.name}/image.png", *map(str, range(23))]
    wrong = ["dog"] * 10 + ["cat"] * 15
    evaluation = evaluate_vectors(NEW, wrong, classifier, ids=names)
    assert not any(entry.image.exists() for entry in evaluation.known)
    write_evaluation_page(tmp_path / "page.html", evaluation, classifier)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"{tmp_path.name}/image.png" in page
    assert "data:image" not in page


def test_vectors_of_the_index_do_not_count(classifier):
    """They are listed; and where all are, there is nothing to measure."""
    evaluation = evaluate_vectors(VECTORS[:30], LABELS[:30], classifier)
    assert (len(evaluation.known), len(evaluation.identical)) == (15, 15)
    with pytest.raises(DatasetError, match="The index holds all 2 vectors"):
        evaluate_vectors(VECTORS[1:4:2], LABELS[1:4:2], classifier)


@pytest.mark.long
@pytest.mark.parametrize(
    ("vectors", "labels", "ids"),
    [([], [], None), (NEW, NEW_LABELS[1:], None), (NEW, NEW_LABELS, ["a"]), (NEW[:3], "cat", None)],
)
def test_one_label_and_id_for_each(classifier, vectors, labels, ids):
    """Another number is an error."""
    with pytest.raises(DatasetError, match="Expected one for each"):
        evaluate_vectors(vectors, labels, classifier, ids)


def test_wrong_vectors_and_labels(classifier):
    """They are refused before anything is classified."""
    with pytest.raises(VectorError, match=r"\(n, 16\)"):
        evaluate_vectors(np.ones((1, 3)), ["cat"], classifier)
    with pytest.raises(DatasetError, match="is no label"):
        evaluate_vectors(NEW[:1], [3], classifier)


def test_groups_of_vectors(classifier):
    """Vectors of one group are no independent trials; those without a group are alone, and the number must fit."""
    names = [f"object {row // 4}" for row in range(len(NEW))]
    names[0] = names[1] = ""
    figures = evaluate_vectors(NEW, NEW_LABELS, classifier, groups=names).to_dict(lambda keep: 0.0)
    counted = figures["groups"]["known"] + figures["groups"]["unknowns"]
    assert counted == len({name for name in names if name}) + 2
    assert figures["accuracy"]["fraction"] is not None
    with pytest.raises(DatasetError, match="groups. Expected one for each"):
        evaluate_vectors(NEW, NEW_LABELS, classifier, groups=names[1:])
