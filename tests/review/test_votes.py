"""Vectors are kept of every encoder that was asked, and a vote on them is that of the images."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.calibration.fusion.cascade import Cascade
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.discovery.votes import vote
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.reviewer import Reviewer
from lmm_classifier.review.votes import StoredVectors, classify_with_vectors
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, draw_sides
from tests.helpers.vector_indexes import nested_embeddings, write_nested

NAMES = ("boxes", "thumbnail")


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """A calibrated index with a cascade of two encoders, and new images."""
    root = tmp_path_factory.mktemp("sides")
    draw_sides(root / "dataset")
    draw_sides(root / "new", count=4, seed=1)
    config = offline_config(root / "index", rerank__enabled=False, retrieval__cascade=True)
    build_index_from_directory(
        root / "dataset", root / "index", config=config, encoder=[ColorEncoder(), LayoutEncoder()]
    )
    calibrate_index(root / "index", config)
    return root, config


def test_a_cascade_is_voted_on_again_from_its_vectors(sides):
    """No encoder is asked, those that were not asked are not missed, and nothing changes."""
    root, config = sides
    color, layout = ColorEncoder(), LayoutEncoder()
    with HybridClassifier(config, [color, layout]) as classifier, Reviewer(classifier) as reviewer:
        run = reviewer.classify_folder(root / "new")
        items = reviewer.runs.after(run.id)
        expected = classifier.classify_paths([item.result["path"] for item in items])
        assert [dict(item.result) for item in items] == [result.to_dict() for result in expected]
        asked = [len(item.result["encoders"]) for item in items]
        assert set(asked) == {1, 2}
        spaces = [encoder.fingerprint.space_id for encoder in (color, layout)]
        ids = [item.id for item in items]
        _, places = reviewer.runs.vectors(ids, spaces[1], layout.fingerprint.dim)
        assert places.tolist() == [place for place, count in enumerate(asked) if count == 2]
        before = (color.encoded, layout.encoded)
        vote = reviewer.revote(run.id)
        assert (vote.voted, vote.changed, vote.not_voted) == (len(items), (), ())
        assert (color.encoded, layout.encoded) == before
        reviewer.delete(run.id)


def test_items_without_a_vector_of_the_first_encoder_keep_their_result(sides):
    """The index was calibrated anew meanwhile: another encoder is asked first."""
    root, config = sides
    with HybridClassifier(config, [ColorEncoder(), LayoutEncoder()]) as classifier, Reviewer(classifier) as reviewer:
        run = reviewer.classify_folder(root / "new")
        flow = classifier._current_flow()
        asked_twice = {item.id for item in reviewer.runs.after(run.id) if len(item.result["encoders"]) == 2}
        calibration = flow.retriever.calibration
        object.__setattr__(calibration, "cascade", Cascade(calibration.cascade.stages[1:]))  # both are asked first
        vote = reviewer.revote(run.id)
        assert vote.voted == len(asked_twice)
        assert set(vote.not_voted) == {item.id for item in reviewer.runs.after(run.id)} - asked_twice
        reviewer.delete(run.id)


def test_an_image_that_cannot_be_encoded_is_unreadable(sides, tmp_path):
    """As `classify_paths` says it; the others have results."""
    _, config = sides
    Image.new("RGB", (48, 48), "red").save(tmp_path / "refused.png")
    (tmp_path / "text.png").write_bytes(b"text")
    draw_sides(tmp_path, count=1, seed=3)
    encoders = [ColorEncoder(refused=[(48, 48)]), LayoutEncoder()]
    with HybridClassifier(config, encoders) as classifier, Reviewer(classifier) as reviewer:
        run = reviewer.classify_folder(tmp_path)
        items = reviewer.runs.after(run.id)
        expected = classifier.classify_paths([item.result["path"] for item in items])
        assert [dict(item.result) for item in items] == [result.to_dict() for result in expected]
        assert run.unreadable == 2
        assert run.items == 6
        assert classify_with_vectors(classifier, []) == []
        reviewer.delete(run.id)


def test_stored_vectors_of_some_images():
    """A part of them has the rows of that part; an encoder that nobody asked has none."""
    rows = {0: np.arange(6), 1: np.array([1, 4, 5])}
    known = {place: np.arange(len(which) * 2, dtype=np.float32).reshape(-1, 2) for place, which in rows.items()}
    vectors = StoredVectors(6, known, rows_of=rows)
    found, answered = vectors.of(1, np.array([0, 4, 5]))
    np.testing.assert_array_equal(found, known[1][1:])
    assert answered.tolist() == [4, 5]
    part = vectors.part(slice(3, 6))
    assert len(part) == 3
    found, answered = part.of(1, np.arange(3))
    np.testing.assert_array_equal(found, known[1][1:])
    assert answered.tolist() == [1, 2]
    found, answered = part.of(2, np.arange(3))
    assert len(found) == len(answered) == 0


def test_coarse_answers_are_voted_on_alike(tmp_path):
    """A vote on stored vectors has the reason and the label of the result of the images."""
    path = write_nested(tmp_path / "index", dataset="dataset#label_from=path")
    config = PipelineConfig.preset("vectors")
    config.retrieval.index_path = path
    calibrate_index(path, config, CalibrationRequest(0.9))
    new, _ = nested_embeddings(part=1)
    with HybridClassifier(config) as classifier:
        results, flow = classifier.classify_vectors(new), classifier._current_flow()
        votes = vote(flow, StoredVectors(len(new), {0: new}, rows_of={0: np.arange(len(new))}))
    assert "rolled_up" in votes.reasons
    assert list(zip(votes.reasons, votes.results)) == [(result.decision.reason, result.label) for result in results]
