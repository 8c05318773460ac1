"""Files become vectors: each file is in one batch, in order, and few images wait at a time."""

import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.concurrency import cpu_count
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import read_image
from lmm_classifier.embeddings import encode_files as encode_files_module
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.encoded_batch import EncodedBatch
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.embeddings.view import CenterView
from tests.helpers.encoders import ColorEncoder, LayoutEncoder


class Watched(DescriptorEncoder):
    """A descriptor that records its calls and may be slow."""

    batch_size = 4

    def __init__(self, pause=0.0):
        self.sizes, self.threads, self.waiting, self.most_waiting = [], set(), 0, 0
        self.pause, self._lock = pause, threading.Lock()

    def preprocess(self, image):
        with self._lock:
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
        return super().preprocess(image)

    def encode(self, preprocessed):
        time.sleep(self.pause)
        self.sizes.append(len(preprocessed))
        self.threads.add(threading.get_ident())
        vectors = super().encode(preprocessed)
        with self._lock:
            self.waiting -= len(preprocessed)
        return vectors


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Sixty files, of which every tenth is no image."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(60):
        path = folder / f"{number:02}.png"
        if number % 10 == 7:
            path.write_bytes(b"junk")
        else:
            Image.effect_noise((24 + number, 20), 60).convert("RGB").save(path)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def alone(files):
    """The image of each file, and its vector where it is encoded alone."""
    images = {number: read_image(file) for number, file in enumerate(files) if number % 10 != 7}
    return {number: (image, encode_images(DescriptorEncoder(), [image.image])[0]) for number, image in images.items()}


@pytest.mark.long
@pytest.mark.parametrize("size", [1, 3, 64])
def test_every_file_is_in_one_batch_in_order(files, alone, size):
    """A file has the vector of its own image for any batch size; the encoder gets no larger batches than asked for."""
    encoder, positions = Watched(), []
    for batch in encode_files(files, Encoding([LazyEncoder(lambda: encoder)], ImagesConfig(), size)):
        positions += sorted([file.position for file in [*batch.encoded, *batch.failed]])
        (vectors,) = batch.vectors
        assert len(vectors) == len(batch.encoded) == len(batch) - len(batch.failed)
        for file, vector in zip(batch.encoded, vectors):
            image, expected = alone[file.position]
            assert image.content_hash == file.content_hash
            np.testing.assert_array_equal(vector, expected)
    assert positions == list(range(60))
    assert max(encoder.sizes) <= max(min(size, 4), 1)


def test_files_may_be_a_stream(files):
    """Files are taken from it only as they are needed."""
    taken = []
    batches = encode_files(
        (taken.append(f) or f for f in files), Encoding([LazyEncoder(Watched)], ImagesConfig(threads=1), 2)
    )
    next(batches)
    batches.close()
    assert len(taken) < 25


def test_few_images_wait_for_a_slow_encoder(files):
    """The threads and the encoder's batch size bound the number of preprocessed images that wait."""
    encoder = Watched(pause=0.02)
    assert (
        sum(len(batch) for batch in encode_files(files, Encoding([LazyEncoder(lambda: encoder)], ImagesConfig(), 64)))
        == 60
    )
    assert encoder.most_waiting <= 4 * min(32, cpu_count()) + 2 * encoder.batch_size
    assert len(encoder.threads) == 1
    assert threading.get_ident() not in encoder.threads


def test_known_contents_are_not_encoded(files):
    """They are in `known`, and an encoder that no file needs is never loaded."""
    good = [file for file in files if file.read_bytes() != b"junk"]
    contents = {read_image(file).content_hash for file in good}

    def fail():
        raise AssertionError("no file must be encoded")

    (batch,) = encode_files(good, Encoding([LazyEncoder(fail)], ImagesConfig(), 8, [contents]))
    assert (len(batch.known), len(batch.failed), len(batch.encoded)) == (54, 0, 0)


def test_an_image_that_cannot_be_preprocessed_has_failed(files):
    """The failure has its position and reason; the other images get their vectors."""

    class Picky(Watched):
        def preprocess(self, image):
            if image.width == 30:
                raise EncoderError("not this one")
            return super().preprocess(image)

    batches = list(encode_files(files, Encoding([LazyEncoder(Picky)], ImagesConfig(), 64)))
    failed = [image for batch in batches for image in batch.failed if image.kind == "no_vector"]
    assert [(image.position, image.reason) for image in failed] == [(6, "not this one")]
    assert sum(len(batch.encoded) for batch in batches) == 53


def test_an_encoder_that_fails_for_all_images_is_an_error(files):
    """The error reaches the caller, and no thread is left."""

    class Broken(Watched):
        def encode(self, preprocessed):
            raise EncoderError("broken")

    before = set(threading.enumerate())
    with pytest.raises(EncoderError, match="broken"):
        list(encode_files([Path(f) for f in files], Encoding([LazyEncoder(Broken)], ImagesConfig(), 64)))
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("fast_jpeg", [True, False])
def test_an_encoder_that_cannot_be_loaded_is_no_fault_of_the_images(files, fast_jpeg):
    """Its error reaches the caller, and it is loaded once for any number of threads."""
    tried = []

    def load():
        tried.append(1)
        raise EncoderError("no such model")

    with pytest.raises(EncoderError, match="no such model"):
        list(encode_files(files, Encoding([LazyEncoder(load)], ImagesConfig(threads=4, fast_jpeg=fast_jpeg), 8)))
    assert len(tried) == 1


def encoded(files, *encoders, **more):
    """Encode files by several encoders in batches of ten; return all results as one batch."""
    lazy = [LazyEncoder(partial(_same, encoder)) for encoder in encoders]
    return EncodedBatch.joined(list(encode_files(files, Encoding(lazy, ImagesConfig(), 10, **more))))


def _same(encoder):
    return encoder


def test_several_encoders_share_the_decoding(files, monkeypatch):
    """Each file is read and decoded once, and each encoder gives the vector that it gives alone."""
    read, real = [], encode_files_module.read_if_new
    monkeypatch.setattr(encode_files_module, "read_if_new", lambda path, *rest: read.append(path) or real(path, *rest))
    color, layout = ColorEncoder(), LayoutEncoder()
    together = encoded(files, color, CenterView(color, "center 0.5"), layout)
    assert sorted(read) == files
    assert [file.position for file in together.encoded] == [number for number in range(60) if number % 10 != 7]
    for number, encoder in enumerate((ColorEncoder(), CenterView(ColorEncoder(), "center 0.5"), LayoutEncoder())):
        np.testing.assert_array_equal(together.vectors[number], encoded(files, encoder).vectors[0])
        assert [content for content, _ in together.pairs(number)] == [file.content_hash for file in together.encoded]


def test_each_encoder_encodes_what_it_lacks(files):
    """A content that all know is not decoded; one that an encoder lacks is encoded by this encoder alone."""
    good = [file for file in files if file.read_bytes() != b"junk"][:12]
    contents = [read_image(file).content_hash for file in good]
    color, layout = ColorEncoder(), LayoutEncoder()
    batch = encoded(good, color, layout, known=[set(contents[:8]), set(contents[4:10])])
    assert [file.position for file in batch.known] == [4, 5, 6, 7]
    assert [file.position for file in batch.encoded] == [0, 1, 2, 3, 8, 9, 10, 11]
    assert [content for content, _ in batch.pairs(0)] == contents[8:]
    assert [content for content, _ in batch.pairs(1)] == [*contents[:4], *contents[10:]]
    assert (color.encoded, color.preprocessed, layout.encoded, layout.preprocessed) == (4, 4, 6, 6)


@pytest.mark.parametrize("place", [0, 1])
def test_an_image_that_one_encoder_refuses_has_no_vector_at_all(files, place):
    """Whichever it is. An index has a vector of every encoder for each image, so this one has failed."""
    encoders = [ColorEncoder(), LayoutEncoder()]
    encoders[place].refused.add((30, 20))
    batch = encoded(files[:20], *encoders)
    failed = [(file.position, file.kind, file.reason) for file in batch.failed if file.kind == "no_vector"]
    assert failed == [(6, "no_vector", f"{encoders[place].fingerprint.name} refuses this image")]
    positions = [number for number in range(20) if number not in (6, 7, 17)]
    assert [file.position for file in batch.encoded] == positions
    for number, encoder in enumerate((ColorEncoder(), LayoutEncoder())):
        images = [read_image(files[position]).image for position in positions]
        np.testing.assert_array_equal(batch.vectors[number], encode_images(encoder, images))


def test_a_later_encoder_that_refuses_a_file_costs_no_vector(files):
    """It may never be asked about it; its input is then missing."""

    class Picky(LayoutEncoder):
        def preprocess(self, image):
            raise EncoderError("no such size")

    batch = encoded(files[:20], ColorEncoder(), later=[LazyEncoder(Picky)])
    assert batch.inputs == [(None,)] * 18


def test_inputs_of_later_encoders_belong_to_their_files(files):
    """They are prepared with the decoding, and nothing of a later encoder is computed."""
    color, later = ColorEncoder(), LayoutEncoder()
    batch = encoded(files[:20], color, later=[LazyEncoder(lambda: later)])
    assert later.encoded == 0
    assert later.preprocessed == len(batch.encoded) == len(batch.inputs) == 18
    vectors = later.encode([inputs[0] for inputs in batch.inputs])
    images = [read_image(file.path).image for file in batch.encoded]
    np.testing.assert_array_equal(vectors, encode_images(LayoutEncoder(), images))


def test_the_time_of_each_encoder_is_measured(files):
    """A slow one takes longer; one that knows everything takes none."""
    good = [file for file in files if file.read_bytes() != b"junk"][:4]
    contents = {read_image(file).content_hash for file in good}
    slow, known, quick = encoded(
        good, Watched(pause=0.2), ColorEncoder(), LayoutEncoder(), known=[set(), contents, set()]
    ).new
    assert slow.seconds >= 0.2 > quick.seconds > 0
    assert known.seconds == 0
