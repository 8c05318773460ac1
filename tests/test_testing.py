"""The checks for authors of encoders accept a good encoder and name the fault of a bad one."""

import doctest

import numpy as np
import pytest

from lmm_classifier import testing
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.testing import check_encoder


def test_the_example_of_the_docstring_runs():
    """The descriptor passes."""
    outcome = doctest.testmod(testing)
    assert outcome.attempted > 0
    assert outcome.failed == 0


class Scaled(DescriptorEncoder):
    def encode(self, preprocessed):
        return 2 * super().encode(preprocessed)


class Double(DescriptorEncoder):
    def encode(self, preprocessed):
        return super().encode(preprocessed).astype(np.float64)


class Narrow(DescriptorEncoder):
    def encode(self, preprocessed):
        return super().encode(preprocessed)[:, :-1]


class Constant(DescriptorEncoder):
    def encode(self, preprocessed):
        rows = np.zeros((len(preprocessed), self.fingerprint.dim), np.float32)
        rows[:, -1] = 1
        return rows


class BatchDependent(DescriptorEncoder):
    def encode(self, preprocessed):
        rows = super().encode(preprocessed)
        rows[:, 0] += 1e-6 * len(preprocessed)
        return rows


class Painter(DescriptorEncoder):
    def preprocess(self, image):
        image.putpixel((0, 0), (1, 2, 3))
        return super().preprocess(image)


@pytest.mark.parametrize(
    ("encoder", "fault"),
    [
        (Scaled, "norms"),
        (Double, "float64, expected float32"),
        (Narrow, "shape"),
        (Constant, "same embedding"),
        (BatchDependent, "differs in a batch of 1 images"),
        (Painter, "changes the image"),
    ],
)
def test_a_bad_encoder_is_named(encoder, fault):
    """The message says which rule the encoder breaks."""
    with pytest.raises(AssertionError, match=fault):
        check_encoder(encoder())
