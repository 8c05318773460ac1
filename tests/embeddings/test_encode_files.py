"""Files become vectors: each is in one batch, in order, and little waits at a time."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.concurrency import processors
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import read_picture
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.encode_files import LazyEncoder, encode_files


class Watched(DescriptorEncoder):
    """The descriptor, which notes what it is given, and may be slow."""

    batch_size = 4

    def __init__(self, pause=0.0):
        self.sizes, self.threads, self.waiting, self.most_waiting = [], set(), 0, 0
        self.pause, self._lock = pause, threading.Lock()

    def prepare(self, image):
        with self._lock:
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
        return super().prepare(image)

    def encode(self, prepared):
        time.sleep(self.pause)
        self.sizes.append(len(prepared))
        self.threads.add(threading.get_ident())
        vectors = super().encode(prepared)
        with self._lock:
            self.waiting -= len(prepared)
        return vectors


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Sixty files, every tenth of which is no picture."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(60):
        path = folder / f"{number:02}.png"
        if number % 10 == 7:
            path.write_bytes(b"junk")
        else:
            Image.effect_noise((24 + number, 20), 60).convert("RGB").save(path)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("size", [1, 3, 10, 64])
def test_every_file_is_in_one_batch_in_order(files, size):
    """With the vector of its own picture, whatever the batch; the encoder gets no more at a time than asked for."""
    encoder, places = Watched(), []
    for batch in encode_files(files, LazyEncoder(lambda: encoder), ImagesConfig(), size):
        here = sorted([place for place, _ in batch.encoded] + [one.place for one in batch.refused])
        places += here
        assert len(batch.vectors) == len(batch.encoded) == len(batch) - len(batch.refused)
        for (place, content), vector in zip(batch.encoded, batch.vectors):
            picture = read_picture(files[place])
            assert picture.content_hash == content
            np.testing.assert_array_equal(vector, encoder.encode_images([picture.image])[0])
    assert places == list(range(60))
    assert max(encoder.sizes) <= max(min(size, 4), 1)


def test_files_may_be_a_stream(files):
    """They are taken as they are needed."""
    taken = []
    found = encode_files((taken.append(f) or f for f in files), LazyEncoder(Watched), ImagesConfig(threads=1), 2)
    next(found)
    found.close()
    assert len(taken) < 25


def test_little_waits_for_a_slow_encoder(files):
    """Pictures that are prepared and not yet encoded are bounded by the threads and what the encoder likes."""
    encoder = Watched(pause=0.02)
    assert sum(len(batch) for batch in encode_files(files, LazyEncoder(lambda: encoder), ImagesConfig(), 64)) == 60
    assert encoder.most_waiting <= 4 * min(32, processors()) + 2 * encoder.batch_size
    assert len(encoder.threads) == 1
    assert threading.get_ident() not in encoder.threads


def test_known_contents_are_not_encoded(files):
    """They are named, and an encoder that nothing needs is never loaded."""
    good = [file for file in files if file.read_bytes() != b"junk"]
    contents = {read_picture(file).content_hash for file in good}

    def fail():
        raise AssertionError("nothing is to be encoded")

    (batch,) = encode_files(good, LazyEncoder(fail), ImagesConfig(), 8, contents)
    assert (len(batch.known), len(batch.refused), len(batch.encoded)) == (54, 0, 0)


def test_a_picture_that_cannot_be_prepared_is_refused(files):
    """By its own name and reason; the others get their vectors."""

    class Picky(Watched):
        def prepare(self, image):
            if image.width == 30:
                raise EncoderError("not this one")
            return super().prepare(image)

    batches = list(encode_files(files, LazyEncoder(Picky), ImagesConfig(), 64))
    refused = [one for batch in batches for one in batch.refused if one.kind == "no_vector"]
    assert [(one.place, one.reason) for one in refused] == [(6, "not this one")]
    assert sum(len(batch.encoded) for batch in batches) == 53


def test_an_encoder_that_fails_for_all_is_an_error(files):
    """It reaches the caller, and no thread stays behind."""

    class Broken(Watched):
        def encode(self, prepared):
            raise EncoderError("broken")

    before = threading.active_count()
    with pytest.raises(EncoderError, match="broken"):
        list(encode_files([Path(f) for f in files], LazyEncoder(Broken), ImagesConfig(), 64))
    assert threading.active_count() == before


@pytest.mark.parametrize("fast_jpeg", [True, False])
def test_an_encoder_that_cannot_be_loaded_is_no_fault_of_the_pictures(files, fast_jpeg):
    """Its error reaches the caller, and loading is tried once, however many threads ask."""
    tried = []

    def load():
        tried.append(1)
        raise EncoderError("no such model")

    with pytest.raises(EncoderError, match="no such model"):
        list(encode_files(files, LazyEncoder(load), ImagesConfig(threads=4, fast_jpeg=fast_jpeg), 8))
    assert len(tried) == 1
