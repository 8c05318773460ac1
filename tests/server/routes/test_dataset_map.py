"""`/v1/map` and its companion: one record an example, tags, and edits."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.server.reviewing import run_map
from tests.server.background.test_mapping import wait_for
from tests.server.routes.test_runs import lines, started

RECORD = np.dtype([("x", "<i2"), ("y", "<i2"), ("label", "<u2")])


def made(client):
    """Return the first answer that is a map."""
    return wait_for(lambda: reply if (reply := client.get("/v1/map")).status_code == 200 else None)


def test_positions_and_examples_belong_together(client):
    """As many records as ids, under one tag, in the order of the dataset."""
    reply = made(client)
    known = client.get("/v1/map/ids")
    assert reply.headers["etag"] == known.headers["etag"]
    assert reply.headers["x-map-state"] == "current"
    values, records = known.json(), np.frombuffer(reply.content, RECORD)
    examples = client.get("/v1/examples").json()["examples"]
    assert [(example["id"], example["path"], example["label"]) for example in examples] == [
        (content_hash, path, values["labels"][label])
        for content_hash, path, label in zip(values["ids"], values["paths"], records["label"], strict=True)
    ]
    assert len(values["uncertainty"]) == len(examples)
    assert values["map_version"] == values["index_version"] == int(reply.headers["x-map-version"])
    assert len({(record["x"], record["y"]) for record in records}) == len(records)


@pytest.mark.parametrize("address", ["/v1/map", "/v1/map/ids"])
def test_a_known_map_is_not_sent_again(client, address):
    """304 has the tag too."""
    tag = made(client).headers["etag"]
    reply = client.get(address, headers={"if-none-match": tag})
    assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", tag)


def test_there_is_an_answer_before_there_is_a_map(teacher):
    """202 says how far it is."""
    state = teacher.state
    mapping = state.mapping
    mapping._rest_until = float("inf")
    for address in ("/v1/map", "/v1/map/ids"):
        reply = teacher.get(address)
        assert (reply.status_code, reply.json()) == (202, {"state": "done", "progress": None})
    mapping._rest_until = 0
    made(teacher)


def test_after_an_edit_the_older_map_is_shown_until_the_newer_one_is_made(teacher):
    """With the labels of now, and without the removed example."""
    tag = made(teacher).headers["etag"]
    teacher.state.mapping._rest_until = float("inf")
    first, second, *_ = teacher.get("/v1/examples").json()["examples"]
    change = [{"id": first["id"], "seen_label": first["label"], "path": first["path"]}]
    assert teacher.request("PATCH", "/v1/examples", json={"examples": change, "label": "other"}).status_code == 200
    gone = [{"id": second["id"], "seen_label": second["label"], "path": second["path"]}]
    assert teacher.request("DELETE", "/v1/examples", json={"examples": gone}).status_code == 200
    reply = teacher.get("/v1/map", headers={"if-none-match": tag})
    assert (reply.status_code, reply.headers["x-map-state"]) == (200, "older")
    values = teacher.get("/v1/map/ids").json()
    labels = np.frombuffer(reply.content, RECORD)["label"]
    assert not values["is_current"]
    assert second["path"] not in values["paths"]
    assert values["labels"][labels[values["paths"].index(first["path"])]] == "other"
    teacher.state.mapping._rest_until = 0
    wait_for(lambda: teacher.get("/v1/map").headers["x-map-state"] == "current")


def test_a_failed_map_is_a_problem(teacher, monkeypatch):
    """With a page, and with when to try again."""
    from lmm_classifier.server.background.mapping import Making

    teacher.state.mapping._rest_until = float("inf")
    teacher.state.mapping.making = Making("failed", error="The index cannot be read.")
    reply = teacher.get("/v1/map")
    assert (reply.status_code, reply.json()["type"]) == (503, "/problems/map-unavailable")
    assert reply.headers["retry-after"] == "30"
    assert teacher.get("/problems/map-unavailable").status_code == 200


def test_open_items_lie_among_the_examples_that_they_look_like(open_client, reviewing_config):
    """At the mean of their neighbors by similarity and score; what is decided, or decides itself, is not there."""
    client = open_client(reviewing_config)
    run = started(client)
    made(client)
    known = client.get("/v1/map/ids").json()
    records = np.frombuffer(client.get("/v1/map").content, RECORD)
    places = {path: (row["x"] / 1000, row["y"] / 1000) for path, row in zip(known["paths"], records, strict=True)}
    waiting = {
        line["id"]: line for line in lines(client, run) if line["reason"] not in ("confident", "reranked", "unreadable")
    }
    values = client.get("/v1/map/items", params={"run": run}).json()
    assert waiting
    assert (values["open"], values["is_sample"], values["without_place"]) == (len(waiting), False, 0)
    assert {item["item"] for item in values["items"]} == set(waiting)
    for item in values["items"]:
        line = waiting[item["item"]]
        assert (item["id"], item["name"], item["label"]) == (line["content_hash"], line["name"], line["label"])
        near = [(one, each["score"]) for each in line["candidates"] for one in each["neighbors"]]
        weights = [max(neighbor["similarity"], 0) * score for neighbor, score in near]
        lie = [places[neighbor["path"]] for neighbor, _ in near]
        mean = np.average(lie, axis=0, weights=weights if any(weights) else None)
        assert (item["x"], item["y"]) == pytest.approx(tuple(mean), abs=1e-3)
    first = values["items"][0]["item"]
    assert client.post("/v1/review/decisions", json={"items": [first], "decision": "skip"}).status_code == 200
    left = client.get("/v1/map/items", params={"run": run}).json()
    assert {item["item"] for item in left["items"]} == set(waiting) - {first}
    assert client.get("/v1/map/items?run=99").status_code == 404
    assert client.get("/v1/map/items").status_code == 400


def test_items_on_the_map_are_bounded_and_may_have_no_place(open_client, reviewing_config, monkeypatch):
    """The answer says so; an item whose neighbors were all removed is counted only."""
    client = open_client(reviewing_config)
    run = started(client)
    made(client)
    count = client.get("/v1/map/items", params={"run": run}).json()["open"]
    assert count > 2
    monkeypatch.setattr(run_map, "MOST", 2)
    values = client.get("/v1/map/items", params={"run": run}).json()
    assert (len(values["items"]), values["open"], values["is_sample"]) == (2, count, True)
    view = replace(client.state.mapping.view(), paths=["gone"] * len(client.state.ids.contents.paths))
    values = run_map.items_on_map(view, client.state.reviews.reviewer.runs, run)
    assert (values["items"], values["without_place"]) == ([], 2)
