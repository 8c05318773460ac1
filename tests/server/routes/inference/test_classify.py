"""Results over HTTP are those of `classify`; what cannot be answered is a problem with the right status."""

import io
import json
import tarfile
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.stages.answer_options import AnswerOptions
from lmm_classifier.server.routes.inference import open_inference, uploaded_images
from tests.helpers.encoders import ColorEncoder
from tests.helpers.live_server import read_reply, request

PNG = {"content-type": "image/png"}


def form(*images):
    """Return the parts of a form."""
    return [("image", (f"{number}.png", data, "image/png")) for number, data in enumerate(images)]


def plain(values):
    """Return a result without what HTTP adds."""
    values = {name: value for name, value in values.items() if name not in ("id", "index_version", "index")}
    for candidate in values["candidates"]:
        for neighbor in candidate["neighbors"]:
            del neighbor["id"]
    return values


@pytest.fixture
def expected(config, images):
    """What `classify` says of each image."""
    with HybridClassifier(config, ColorEncoder()) as classifier:
        return [json.loads(classifier.classify(image).to_json()) for image in images]


def test_one_image_has_the_result_of_classify(client, images, expected):
    """Raw bytes, of any image type, or of no declared type at all."""
    for kind, image, result in zip(("image/png", "image/jpeg", "application/octet-stream"), images, expected):
        reply = client.post("/v1/classify", content=image, headers={"content-type": kind})
        assert reply.status_code == 200
        assert plain(reply.json()) == result
        assert reply.json()["id"] == result["content_hash"]
        assert reply.json()["index_version"] == int(reply.headers["x-index-version"])


@pytest.mark.parametrize(
    "options",
    [
        AnswerOptions(allow_unknown=False),
        AnswerOptions(allow_unknown=True),
        AnswerOptions(["red"]),
        AnswerOptions(["green", "blue_left"], allow_unknown=False),
    ],
)
def test_options_of_a_request_are_those_of_classify(client, config, images, options):
    """Bit by bit, alone and in a form, while other requests of the same batch ask for all labels."""
    strange = io.BytesIO()
    Image.new("RGB", (16, 16), (255, 255, 255)).save(strange, "PNG")
    images = [*images[:4], strange.getvalue()]
    with HybridClassifier(config, ColorEncoder()) as classifier:
        expected = [classifier.classify(image, options) for image in images]
        plainly = [classifier.classify(image) for image in images]
    query = {"labels": sorted(options.labels or ()), "rounded": "false"}
    if options.allow_unknown is not None:
        query["allow_unknown"] = str(options.allow_unknown).lower()
    with ThreadPoolExecutor(8) as threads:
        asked = [
            threads.submit(client.post, "/v1/classify", params=values, files=form(*images))
            for values in (query, {"rounded": "false"}) * 3
        ]
    for number, future in enumerate(asked):
        for values, result in zip(future.result().json()["results"], (expected, plainly)[number % 2], strict=True):
            assert (values["label"], values["score"], values["reason"]) == (
                result.label,
                result.score,
                result.decision.reason,
            )
            assert [(one["label"], one["score"]) for one in values["candidates"]] == [
                (candidate.label, candidate.score) for candidate in result.candidates
            ]
    reply = client.post("/v1/classify", params=query, content=images[0], headers=PNG)
    assert (reply.json()["label"], reply.json()["score"]) == (expected[0].label, expected[0].score)


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("labels=gren", 422, "Is 'green' meant, for 'gren'?"),
        ("labels=red&labels=", 422, "'' not in the index"),
        ("allow_unknown=maybe", 400, "allow_unknown must be true or false"),
    ],
)
def test_options_that_are_refused(client, images, query, status, text):
    """Before the body is read, with the nearest names."""
    for data in (images[0], b"x" * 1_000_000):
        reply = client.post(f"/v1/classify?{query}", content=data, headers=PNG)
        assert reply.status_code == status
        assert text in reply.json()["detail"]


def test_a_form_has_the_results_in_its_order(client, images, expected):
    """Several images, more than wait in the queue together."""
    results = client.post("/v1/classify", files=form(*images, *images)).json()["results"]
    assert [plain(result) for result in results] == [*expected, *expected]


def test_lines_come_with_their_place(client, images, expected):
    """JSON lines, in any order."""
    reply = client.post("/v1/classify", files=form(*images), headers={"accept": "application/jsonl"})
    assert reply.headers["content-type"].startswith("application/jsonl")
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert [plain(line) for line in sorted(lines, key=lambda line: line["index"])] == expected


def test_a_line_comes_while_the_form_arrives_and_a_problem_is_the_last_one(open_server, config, images):
    """A result waits for no other image; where the form is refused later, the stream says so and ends in order."""
    server = open_server(config)
    part = b'--b\r\ncontent-disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
    whole = part + images[0] + b"\r\n" + part + images[1]
    headers = {"content_type": "multipart/form-data; boundary=b", "accept": "application/jsonl"}
    begun = request("POST", "/v1/classify", **headers).replace(b"content-length: 0", b"content-length: 9999999")
    with server.connect() as connection:
        connection.sendall(begun + whole)  # the second image does not end
        answer = b""
        while b'"label"' not in answer:
            more = connection.recv(65536)
            assert more, "the answer ends too early"
            answer += more
        assert b'"index": 0' in answer
        server.state.held.count += server.state.held.limit  # another body takes all the room
        connection.sendall(images[1])
        while not answer.endswith(b"0\r\n\r\n"):
            more = connection.recv(65536)
            assert more, "the answer ends too early"
            answer += more
        server.state.held.remove(server.state.held.limit)
    assert b'"index": null' in answer
    assert b"/problems/queue-full" in answer
    assert server.state.metrics.refused.labels("bodies")._value.get() == 1


def test_a_bad_image_of_a_form_is_unreadable(client, images, expected):
    """The others have their results."""
    results = client.post("/v1/classify", files=form(images[0], b"no image", images[1])).json()["results"]
    assert [result["reason"] for result in results][1] == "unreadable"
    assert [plain(results[0]), plain(results[2])] == expected[:2]


def test_neighbors_have_ids(client, images, made_index):
    """The id of an example is the hash of its content; the id in the dataset is text for people."""
    from hashlib import sha256

    candidates = client.post("/v1/classify", content=images[0], headers=PNG).json()["candidates"]
    neighbor = candidates[0]["neighbors"][0]
    assert neighbor["id"] == sha256((made_index / "dataset" / neighbor["path"]).read_bytes()).hexdigest()


def test_evidence_can_be_left_out(client, images):
    """Then candidates have no neighbors."""
    reply = client.post("/v1/classify?evidence=false", content=images[0], headers=PNG).json()
    assert all("neighbors" not in candidate for candidate in reply["candidates"])
    assert client.post("/v1/classify?evidence=x", content=images[0], headers=PNG).status_code == 400
    assert client.post("/v1/classify?rerank=false", content=images[0], headers=PNG).json()["used_reranker"] is False
    assert client.post("/v1/classify?rerank=off", content=images[0], headers=PNG).status_code == 400


BAD = {
    "empty": b"",
    "text": b"hello",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "html in a comment": b"\xff\xd8\xff\xfe\x00\x1b<script>alert(1)</script>\xff\xd9",
    "cut": None,
    "bomb": None,
}


def bad_image(name):
    if name == "cut":
        data = io.BytesIO()
        Image.effect_noise((64, 64), 50).save(data, "JPEG")
        return data.getvalue()[:300]
    if name == "bomb":
        data = io.BytesIO()
        Image.new("1", (9000, 9000)).save(data, "PNG")
        return data.getvalue()
    return BAD[name]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image_is_422(client, name):
    """Never 500; the problem names the group."""
    reply = client.post("/v1/classify", content=bad_image(name), headers=PNG)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["type"] == "/problems/unreadable-image"
    assert reply.json()["kind"] in ("unsupported", "corrupt", "too_large")
    assert "<script" not in reply.text


def test_an_image_that_the_encoder_refuses_is_422(open_client, config, encoder):
    """It is the image's fault where others have vectors."""
    data = io.BytesIO()
    Image.new("RGB", (23, 4)).save(data, "PNG")
    reply = open_client(config, encoder).post("/v1/classify", content=data.getvalue(), headers=PNG)
    assert (reply.status_code, reply.json()["kind"]) == (422, "no_vector")


@pytest.mark.parametrize("kind", ["", "text/plain", "image/svg+xml", "application/json", "multipart/mixed"])
def test_another_type_is_415(client, images, kind):
    """An image has a type of images, or that of any bytes."""
    reply = client.post("/v1/classify", content=images[0], headers={"content-type": kind})
    assert reply.status_code == 415


@pytest.mark.parametrize("given", ["0", "-1", "60001", "1e3", "²", "x" * 1000, "1.5"])
def test_a_wrong_deadline_is_400(client, images, given):
    """It is a whole number of milliseconds."""
    headers = {**PNG, "x-deadline-ms": given.encode()}
    assert client.post("/v1/classify", content=images[0], headers=headers).status_code == 400


def test_a_form_without_images_is_400(client):
    """And so is one without a boundary."""
    assert client.post("/v1/classify", files={"other": b"x"}).status_code == 400
    reply = client.post("/v1/classify", content=b"x", headers={"content-type": "multipart/form-data"})
    assert reply.status_code == 400


def test_a_passed_deadline_is_504(open_client, config, encoder, images):
    """The request ends in time, although the encoder is busy."""
    client = open_client(config, encoder)
    encoder.gate.clear()
    try:
        reply = client.post("/v1/classify", content=images[0], headers={**PNG, "x-deadline-ms": "50"})
    finally:
        encoder.gate.set()
    assert (reply.status_code, reply.json()["type"]) == (504, "/problems/deadline-passed")


def test_stages_are_in_a_header(client, images):
    """A browser shows them."""
    timing = client.post("/v1/classify", content=images[0], headers=PNG).headers["server-timing"]
    assert {part.partition(";")[0] for part in timing.split(", ")} == {"queue", "decode", "encode", "vote", "total"}


def test_starting_and_draining_are_503(open_client, config, images):
    """With the time after which to try again."""
    client = open_client(config)
    opened, client.state._opened = client.state._opened, None
    reply = client.post("/v1/classify", content=images[0], headers=PNG)
    assert (reply.status_code, reply.json()["type"]) == (503, "/problems/starting")
    assert int(reply.headers["retry-after"]) >= 1
    client.state._opened = opened
    client.state.start_draining()
    reply = client.post("/v1/classify", content=images[0], headers=PNG)
    assert (reply.status_code, reply.json()["type"]) == (503, "/problems/draining")


@pytest.mark.parametrize("kind", ["raw", "form", "tensor"])
def test_a_full_queue_is_429(open_client, config, encoder, images, kind):
    """Before the body is read, with the time after which to try again and what waits."""
    config.server.queue = 2
    client = open_client(config, encoder)
    encoder.gate.clear()
    futures = [client.state.queue.submit(image, 60) for image in images[:2]]
    sent = {"files": form(images[2])} if kind == "form" else {"content": images[2], "headers": PNG}
    if kind == "tensor":
        sent = {"content": b"[]", "headers": {"content-type": "application/json"}}  # it is not read
    reply = client.post("/v2/models/index/infer" if kind == "tensor" else "/v1/classify", **sent)
    encoder.gate.set()
    assert [future.result(60).label for future in futures]
    assert (reply.status_code, reply.json()["type"]) == (429, "/problems/queue-full")
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.json()["queue"] | {"expected_wait_s": 0} == {"depth": 2, "limit": 2, "expected_wait_s": 0}
    assert client.post("/v1/classify", content=images[2], headers=PNG).status_code == 200


@pytest.mark.parametrize("kind", ["form", "lines", "tensor"])
def test_a_queue_that_fills_up_meanwhile_is_429(open_client, config, encoder, images, monkeypatch, kind):
    """The first image of a form is refused at once, like the bytes of one image, and does not wait for a place."""
    for module in (uploaded_images, open_inference):
        monkeypatch.setattr(module, "require_place", lambda *_: None)  # there was one before the body came
    config.server.queue = 1
    client = open_client(config, encoder)
    encoder.gate.clear()
    future = client.state.queue.submit(images[0], 60)
    headers = {"x-deadline-ms": "60000"}
    sent = {"files": form(images[2]), "headers": headers}
    if kind == "lines":
        headers["accept"] = "application/jsonl"
    if kind == "tensor":
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [b64encode(images[2]).decode()]}
        sent = {"json": {"inputs": [tensor]}, "headers": headers}
    reply = client.post("/v2/models/index/infer" if kind == "tensor" else "/v1/classify", **sent)
    encoder.gate.set()
    future.result(60)
    assert (reply.status_code, reply.json()["type"]) == (429, "/problems/queue-full")
    assert client.state.held.count == 0


def test_a_form_waits_for_places(open_client, config, images):
    """A form with more images than the queue has places is answered whole."""
    config.server.queue = 1
    client = open_client(config)
    assert len(client.post("/v1/classify", files=form(*images)).json()["results"]) == len(images)


@pytest.mark.long
def test_many_malformed_files(shared, open_server, config, record_property):
    """Of 7,814 files from fuzzers and testers each is 200, or 422 with a kind; none is an error of the server."""
    with tarfile.open(shared / "badimages/badimages.tar.xz") as archive:
        files = [archive.extractfile(member).read() for member in archive if member.isfile()]
    server, statuses = open_server(config), Counter()

    def ask(part):
        with server.connect() as connection:
            for data in part:
                connection.sendall(request("POST", "/v1/classify", data, content_type="image/x", x_deadline_ms="60000"))
                statuses[read_reply(connection).status] += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, (files[number::4] for number in range(4))))
    record_property("files", sum(statuses.values()))
    record_property("errors", sum(count for status, count in statuses.items() if not 200 <= status < 500))
    assert set(statuses) == {200, 422}
    assert sum(statuses.values()) == len(files) > 7000
    assert 1500 <= statuses[200] <= 2300
