"""Vectors over HTTP are those of the encoder, and images are refused as by `POST /v1/classify`."""

import io
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from tests.helpers.encoders import ColorEncoder
from tests.server.routes.inference.test_classify import PNG, form


def vector_of(image):
    encoder = ColorEncoder()
    return encoder.encode([encoder.preprocess(Image.open(io.BytesIO(image)).convert("RGB"))])[0]


def test_one_image_has_the_vector_of_the_encoder(client, images):
    """All its bits, and the fingerprint that the index names."""
    reply = client.post("/v1/embed", content=images[0], headers=PNG)
    values = reply.json()
    assert reply.status_code == 200
    assert np.array_equal(np.array(values["vectors"], np.float32), [vector_of(images[0])])
    assert values["encoders"] == [each["encoder"] for each in client.get("/v1/index").json()["encoders"]]
    assert (values["id"], values["error"]) == (sha256(images[0]).hexdigest(), None)
    assert "encode" in reply.headers["server-timing"]


def test_a_form_has_the_vectors_in_its_order(client, images):
    """One that cannot be read has none, and the others have theirs."""
    results = client.post("/v1/embed", files=form(images[0], b"no image", *images[1:3])).json()["results"]
    assert [len(result["vectors"]) for result in results] == [1, 0, 1, 1]
    assert results[1]["error"]
    for image, result in zip((images[0], images[1], images[2]), (results[0], *results[2:])):
        assert np.array_equal(np.array(result["vectors"][0], np.float32), vector_of(image))


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"no image", PNG, 422),
        (b"", PNG, 422),
        (b"x", {"content-type": "text/plain"}, 415),
        (b"x", {**PNG, "x-deadline-ms": "0"}, 400),
    ],
)
def test_refusals_are_those_of_classify(client, content, headers, status):
    """The same status and the same problem."""
    replies = [client.post(f"/v1/{name}", content=content, headers=headers) for name in ("embed", "classify")]
    assert [reply.status_code for reply in replies] == [status, status]
    assert len({(reply.json()["type"], reply.json()["detail"]) for reply in replies}) == 1


def test_an_image_that_the_encoder_refuses(open_client, config, encoder, images):
    """In a batch with others, these have their own vectors."""
    refused = io.BytesIO()
    Image.new("RGB", (23, 4)).save(refused, "png")
    client = open_client(config, encoder)
    results = client.post("/v1/embed", files=form(images[0], refused.getvalue(), images[1])).json()["results"]
    assert [len(result["vectors"]) for result in results] == [1, 0, 1]
    assert np.array_equal(np.array(results[2]["vectors"][0], np.float32), vector_of(images[1]))


def test_results_are_not_counted(teacher, images):
    """No image was classified."""
    before = teacher.get("/metrics").text
    teacher.post("/v1/embed", content=images[0], headers=PNG)
    after = teacher.get("/metrics").text
    named = [[line for line in text.splitlines() if line.startswith("lmm_results_total")] for text in (before, after)]
    assert named[0] == named[1]
