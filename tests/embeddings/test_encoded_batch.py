"""Batches are joined in order, each vector with its file."""

from pathlib import Path

import numpy as np

from lmm_classifier.embeddings.encoded_batch import EncodedBatch, EncodedFile, NewVectors


def batch(first, count, lacking):
    """Files from `first` on; the first encoder has vectors of all, the second of those `lacking` (places)."""
    files = [EncodedFile(number, Path(f"{number}"), f"hash{number}") for number in range(first, first + count)]
    numbers = np.arange(first, first + count, dtype=np.float32)[:, None]
    places = np.array(lacking, np.int64)
    second = NewVectors(10 * numbers[places] if len(places) else np.empty((0, 0), np.float32), places, 2.0)
    return EncodedBatch(files, new=[NewVectors(numbers, np.arange(count), 1.0), second])


def pairs(joined, encoder):
    return [(content, float(vector[0])) for content, vector in joined.pairs(encoder)]


def test_joined_batches_keep_each_vector_with_its_file():
    """Also where an encoder has vectors of some files, or of none in a part."""
    joined = EncodedBatch.joined([batch(0, 3, [1]), batch(3, 2, []), batch(5, 0, []), batch(5, 2, [0, 1])])
    assert [file.position for file in joined.encoded] == list(range(7))
    assert pairs(joined, 0) == [(f"hash{number}", float(number)) for number in range(7)]
    assert pairs(joined, 1) == [("hash1", 10.0), ("hash5", 50.0), ("hash6", 60.0)]
    assert [new.seconds for new in joined.new] == [4.0, 8.0]
    none = EncodedBatch.joined([batch(0, 1, []), batch(1, 1, [])])
    assert pairs(none, 1) == []


def test_vectors_of_some_files_are_numbered_again():
    """A file that another encoder refused is gone, with its vector."""
    (of_all, of_some) = batch(0, 5, [0, 2, 4]).new
    kept = np.array([1, 2, 4])
    assert of_all.of(kept).places.tolist() == [0, 1, 2]
    assert of_all.of(kept).vectors[:, 0].tolist() == [1, 2, 4]
    assert of_some.of(kept).places.tolist() == [1, 2]
    assert of_some.of(kept).vectors[:, 0].tolist() == [20, 40]
