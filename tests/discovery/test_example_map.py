"""The map of an index: all its examples or a sample, and positions that stay."""

import numpy as np

from lmm_classifier.discovery import example_map
from lmm_classifier.discovery.example_map import ExampleMap, map_vectors
from tests.discovery.test_landscape import index_of


def test_all_examples_are_on_the_map(tmp_path):
    """With their contents, and how many of the nearest have another label."""
    index = index_of(tmp_path, 40)
    made = ExampleMap.of([index])
    assert (list(made.paths), list(made.hashes)) == (list(index.contents.paths), list(index.hashes))
    assert made.positions.shape == (40, 2)
    assert made.examples == 40
    assert set(made.uncertainty.tolist()) <= set(range(0, 101, 10))
    assert made.positions.tobytes() == ExampleMap.of([index]).positions.tobytes()


def test_of_a_large_dataset_a_sample_is_on_the_map(tmp_path, monkeypatch):
    """Of each label equally many."""
    monkeypatch.setattr(example_map, "MOST", 12)
    made = ExampleMap.of([index_of(tmp_path, 60)])
    assert (len(made.paths), made.examples) == (12, 60)


def test_examples_stay_where_they_were(tmp_path):
    """By their content where the id is another one; a new example is among the others."""
    former = ExampleMap.of([index_of(tmp_path, 60)])
    index = index_of(tmp_path, 61)
    again = ExampleMap.of([index], former)
    places = {content_hash: place for place, content_hash in enumerate(former.hashes)}
    moved = [
        np.linalg.norm(again.positions[row] - former.positions[places[content_hash]])
        for row, content_hash in enumerate(again.hashes)
        if content_hash in places
    ]
    assert np.median(moved) < 0.1 * np.ptp(former.positions, axis=0).max()


def test_small_indexes_have_a_map(tmp_path):
    """One example, one label, one example of each label."""
    for count, labels in ((1, 1), (2, 2), (3, 1), (3, 3)):
        made = ExampleMap.of([index_of(tmp_path, count, labels)])
        assert np.isfinite(made.positions).all()
        assert len(made.positions) == count


def test_all_encoders_count_alike(tmp_path):
    """The cosine on the map is the mean of those of the encoders."""
    one, other = index_of(tmp_path, 30), index_of(tmp_path, 30, seed=0)
    rows = np.arange(30)
    both, alone = map_vectors([one, other], rows), map_vectors([one], rows)
    assert np.allclose(both @ both.T, alone @ alone.T, atol=1e-5)
