"""What the labeled images tell: the space, the cut, and the labeled images in the space."""

import numpy as np

from lmm_classifier.discovery import landscape as module
from lmm_classifier.discovery.landscape import Landscape
from lmm_classifier.index.vector_index import Index
from tests.helpers.vector_indexes import write_vectors


def index_of(folder, count, labels=4, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 12)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = [f"label{number % labels}" for number in range(count)]
    return Index.open(write_vectors(folder / f"{count}-{labels}.npz", names, rows))


def test_a_space_is_used_again_while_few_examples_are_new(tmp_path):
    """Not where a label is new, nor where there are many more examples."""
    former = Landscape.of([index_of(tmp_path, 40)])
    assert Landscape.of([index_of(tmp_path, 43)], former=former).space is former.space
    assert len(Landscape.of([index_of(tmp_path, 43)], former=former).labeled) == 43
    assert Landscape.of([index_of(tmp_path, 50)], former=former).space is not former.space
    assert Landscape.of([index_of(tmp_path, 41, labels=5)], former=former).space is not former.space


def test_of_many_examples_a_sample_takes_part(tmp_path, monkeypatch):
    """The same number of each label, and those that are asked for."""
    monkeypatch.setattr(module, "_MOST", 12)
    index = index_of(tmp_path, 60)
    sampled = Landscape.of([index])
    assert len(sampled.labeled) == 12
    missing = [digest for digest in index.hashes if len(Landscape.of([index], None, {digest}, sampled).labeled) == 13]
    assert len(missing) == 48
    rows = module.even_sample(index.gallery.rows_of_label, index.hashes, 10)
    assert sorted(np.bincount(index.label_ids[rows]).tolist()) == [2, 2, 3, 3]
