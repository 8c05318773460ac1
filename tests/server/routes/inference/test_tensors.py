"""Images are read from both forms of a tensor; whatever else comes is refused, and never fails."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.routes.inference.tensors import read_inference


def header(count, **members):
    """Return the JSON of a request."""
    return json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [count], **members}]}).encode()


def binary(*images):
    """Return a request with its images after the JSON, and the length of the JSON."""
    data = b"".join(len(image).to_bytes(4, "little") + image for image in images)
    text = header(len(images), parameters={"binary_data_size": len(data)})
    return text + data, str(len(text))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
def test_both_forms_hold_the_same_images(images):
    """Any bytes, empty ones too."""
    assert read_inference(*binary(*images), 8)[1] == images
    texts = [base64.b64encode(image).decode() for image in images]
    assert read_inference(header(len(images), data=texts), None, 8)[1] == images


@given(st.binary(max_size=200), st.none() | st.integers(-3, 250).map(str) | st.text(max_size=5))
def test_other_bytes_are_refused(body, length):
    """With the one problem for that."""
    with pytest.raises(ProblemError):
        read_inference(body, length, 8)


@given(st.integers(0, 40), st.binary(min_size=1, max_size=8))
def test_a_damaged_request_is_read_or_refused(place, noise):
    """Nothing else is raised."""
    body, length = binary(b"first", b"second")
    damaged = body[: -place or None] + noise
    try:
        read_inference(damaged, length, 8)
    except ProblemError as problem:
        assert problem.slug == "malformed-request"


@pytest.mark.parametrize(
    ("body", "length", "said"),
    [
        (header(1, data=["not base64"]), None, "base64"),
        (header(2, data=["eA=="]), None, "2 elements, but 1 came"),
        (header(0, data=[]), None, "1 to 4 images"),
        (header(5, data=["eA=="] * 5), None, "1 to 4 images"),
        (header(1), None, "either"),
        (header(1, data=["eA=="], parameters={"binary_data_size": 3}), None, "either"),
        (header(1, data=["eA=="]).replace(b"BYTES", b"FP32"), None, "datatype BYTES"),
        (header(1, data=["eA=="]) + b"more", str(len(header(1, data=["eA=="]))), "0 bytes after the JSON, got 4"),
        (b'{"inputs": []}', None, "inputs"),
        (b"\x00" * 9, "12", "number up to 9"),
    ],
)
def test_refusals_say_what_was_expected(body, length, said):
    """Each in its words."""
    with pytest.raises(ProblemError, match=said):
        read_inference(body, length, 4)


def test_many_empty_elements_take_no_memory():
    """Reading ends after one more than there may be."""
    size = 4 * 1_000_000
    text = header(1_000_000, parameters={"binary_data_size": size})
    with pytest.raises(ProblemError, match="but 5 came"):
        read_inference(text + bytes(size), str(len(text)), 4)
