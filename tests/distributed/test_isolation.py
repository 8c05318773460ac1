"""The image that ends workers is found by marks; all other rows are kept."""

import json

import pytest

from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.isolation import IsolatedWork

BAD = {5, 11}


class EndedWorkerError(Exception):
    """Stands for the end of a process."""


def work(folder, made, name="chunk", known=lambda _start, _stop: None):
    def make(start, stop):
        for place in range(start, stop):
            if place in BAD:
                raise EndedWorkerError
            made.append(place)
        return list(range(start, stop))

    return IsolatedWork(
        ChunkFolder(str(folder)),
        "run",
        name,
        16,
        make,
        refuse=lambda place: -place,
        to_bytes=lambda rows: json.dumps(rows).encode(),
        from_bytes=json.loads,
        known=known,
    )


def test_images_that_end_workers_are_refused(tmp_path):
    """Each alone, after three tries, whichever worker tries; rows of finished parts are not made again."""
    made, ended = [], 0
    while True:
        try:
            rows = work(tmp_path, made).rows()
            break
        except EndedWorkerError:
            ended += 1
            assert ended < 40
    assert rows == [-place if place in BAD else place for place in range(16)]
    assert 6 < ended < 20
    assert made.count(0) == 5  # by three tries of the whole, by a half, and by the quarter that was finished


def test_rows_that_are_known_begin_nothing(tmp_path):
    """No mark is made."""
    made = []
    assert work(tmp_path, made, known=lambda start, stop: list(range(start, stop))).rows() == list(range(16))
    assert (made, list(ChunkFolder(str(tmp_path)).files.entries("attempts"))) == ([], [])


def test_an_error_is_no_end(tmp_path):
    """It is raised as it is, each time."""
    with pytest.raises(EndedWorkerError):
        work(tmp_path, []).rows()
