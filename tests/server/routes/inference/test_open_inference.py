"""The Open Inference Protocol answers as `POST /v1/classify` does."""

import base64

import pytest

from lmm_classifier.server.routes.inference import open_inference
from lmm_classifier.server.routes.inference.tensors import read_inference
from tests.server.routes.inference.test_classify import form
from tests.server.routes.inference.test_tensors import binary, header

INFER = "/v2/models/index/infer"
JSON = {"content-type": "application/json"}


def outputs(reply):
    """Return the data of each output by its name."""
    assert reply.status_code == 200, reply.text
    return {output["name"]: output["data"] for output in reply.json()["outputs"]}


@pytest.fixture
def expected(client, images):
    """The results of `POST /v1/classify`, the second image of which is none."""
    sent = (images[0], b"no image", images[1])
    results = client.post("/v1/classify?rounded=false", files=form(*sent)).json()["results"]
    return sent, {name: [result[name] for result in results] for name in ("label", "score", "reason")}


def test_images_in_binary_and_in_base64(client, expected):
    """The same outputs, bit for bit, and one that cannot be read is `unreadable`."""
    images, results = expected
    body, length = binary(*images)
    reply = client.post(INFER, content=body, headers={"inference-header-content-length": length})
    assert outputs(reply) == results
    assert reply.json()["model_version"] == str(client.state.index_version)
    texts = [base64.b64encode(image).decode() for image in images]
    assert outputs(client.post(INFER, content=header(3, data=texts), headers=JSON)) == results


def test_a_request_may_have_an_id_and_choose_outputs(client, images):
    """They come in the order that was asked for."""
    text = base64.b64encode(images[0]).decode()
    asked = {
        "id": "7",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [text], "more": 1}],
        "outputs": [{"name": "score"}, {"name": "label", "parameters": {"binary_data": True}}],
    }
    reply = client.post(INFER, json=asked).json()
    assert (reply["id"], [output["name"] for output in reply["outputs"]]) == ("7", ["score", "label"])
    assert reply["outputs"][0]["shape"] == [1]
    refused = client.post(INFER, json={**asked, "outputs": [{"name": "vector"}]})
    assert (refused.status_code, refused.json()["type"]) == (400, "/problems/malformed-request")


@pytest.mark.parametrize("is_binary", [False, True])
def test_every_copy_of_an_image_counts(client, expected, monkeypatch, is_binary):
    """The body, the texts in it, and what they decode to, until it was read; then only the images."""
    images, _ = expected
    counts = []

    async def watched(upload, *arguments):
        read = await read_body(upload, *arguments)
        counts.append(client.state.held.count)
        return read

    def watched_parser(body, *arguments):
        counts.append((client.state.held.count, len(body)))
        return read_inference(body, *arguments)

    read_body = open_inference._read
    monkeypatch.setattr(open_inference, "_read", watched)
    monkeypatch.setattr(open_inference, "read_inference", watched_parser)
    if is_binary:
        body, length = binary(*images)
        headers = {"inference-header-content-length": length}
    else:
        body = header(3, data=[base64.b64encode(image).decode() for image in images])
        headers = JSON
    client.post(INFER, content=body, headers=headers)
    assert counts == [((2 if is_binary else 3) * len(body), len(body)), sum(map(len, images))]
    assert client.state.held.count == 0


def test_the_server_and_its_model_are_described(client):
    """The model has the name of the folder of the index."""
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    model = client.get("/v2/models/index").json()
    assert (model["name"], model["versions"]) == ("index", [str(client.state.index_version)])
    assert [each["name"] for each in model["inputs"] + model["outputs"]] == ["image", "label", "score", "reason"]
    assert client.get("/v2/models/index/ready").json() == {"ready": True}


@pytest.mark.parametrize("address", ["/v2/models/other", "/v2/models/other/ready", "/v2/models/index%2F..%2Findex"])
def test_another_model_is_not_there(client, address):
    """404, for reading and for asking."""
    assert client.get(address).status_code == 404
    assert client.post(f"{address}/infer", content=b"{}", headers=JSON).status_code == 404


def test_it_is_not_ready_at_the_end(open_client, config):
    """A load balancer sends nobody here."""
    client = open_client(config)
    client.state.start_draining()
    for address in ("/v2/health/ready", "/v2/models/index/ready"):
        reply = client.get(address)
        assert (reply.status_code, reply.json()) == (503, {"ready": False})
    assert client.get("/v2/health/live").status_code == 200


def test_refusals(client, images):
    """The type of the body, and its size."""
    text = {"content-type": "text/plain"}
    assert client.post(INFER, content=b"{}", headers=text).status_code == 415
    assert client.post(INFER, content=b"{}", headers=JSON).status_code == 400
    body, length = binary(bytes(client.state.settings.max_body + 1))
    reply = client.post(INFER, content=body, headers={"inference-header-content-length": length})
    assert (reply.status_code, reply.json()["type"]) == (413, "/problems/body-too-large")
