"""An encoder and a reranker that work only while a test lets them."""

import threading

from lmm_classifier.core.datatypes import RerankResult
from lmm_classifier.core.errors import EncoderError
from tests.helpers.encoders import ColorEncoder

LONG = 60  # seconds; only a broken test waits that long


class GatedEncoder(ColorEncoder):
    """Encodes while `gate` is set, and records its batches; preprocesses images of the size `held` while `hold` is."""

    held = (17, 5)  # size of an image
    batch_size = 3

    def __init__(self, refused=()):
        super().__init__(refused)
        self.gate, self.hold, self.busy, self.holding = (threading.Event() for _ in range(4))
        self.gate.set()
        self.batches, self.errors = [], []

    def preprocess(self, image):
        if image.size == self.held:
            self.holding.set()
            assert self.hold.wait(LONG)
        return super().preprocess(image)

    def encode(self, preprocessed):
        self.batches.append(len(preprocessed))
        self.busy.set()
        assert self.gate.wait(LONG)
        if self.errors:
            raise self.errors.pop()
        return super().encode(preprocessed)


class GatedReranker:
    """Answers while `gate` is set: the second candidate, always."""

    identity, references, trust = "gated", 0, (0.0, 1.0)

    def __init__(self):
        self.gate, self.busy = threading.Event(), threading.Event()
        self.error = None

    def rerank(self, requests):
        self.busy.set()
        assert self.gate.wait(LONG)
        if self.error:
            raise self.error
        return [RerankResult(_second(len(request.candidates))) for request in requests]


def _second(count):
    return tuple(1.0 if place == 1 else 0.0 for place in range(count))


def broken():
    """Return an error of an encoder that cannot work."""
    return EncoderError("out of order")
