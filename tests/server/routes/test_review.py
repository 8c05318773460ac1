"""The review over HTTP: groups, answers that may be sent again, and undoing all of them."""

import pytest

from tests.server.routes.test_runs import lines, run_of, started


@pytest.fixture
def reviewer(open_client, reviewing_config):
    return open_client(reviewing_config)


@pytest.fixture
def run(reviewer):
    return started(reviewer)


def groups_of(client, run, **parameters):
    reply = client.get("/v1/review", params={"run": run, **parameters})
    assert reply.status_code == 200, reply.json()
    return reply.json()


def decide(client, items, decision, **parameters):
    return client.post("/v1/review/decisions", json={"items": items, "decision": decision}, params=parameters)


def undo(client, answer):
    return client.post(f"/v1/review/answers/{answer}/undo")


def of_name(client, run, start):
    return [item["id"] for item in lines(client, run) if item["name"].startswith(start)]


def state_of(client, run):
    """All that an answer changes."""
    items = {
        item["id"]: (item["label"], item["reason"], item["decision"], item["apart"]) for item in lines(client, run)
    }
    return items, run_of(client, run), client.get("/v1/labels").json()["labels"]


def test_groups_and_their_pages(reviewer, run):
    """The groups hold what is open, each item once; the cursor leads to the next ones."""
    page, seen = groups_of(reviewer, run, limit=1), []
    while True:
        for group in page["groups"]:
            assert group["size"] == len(group["items"]) + len(group["rest"])
            seen += [item["id"] for item in group["items"]] + group["rest"]
            assert all(item["candidates"] and item["path"] is None for item in group["items"])
        if page["next"] is None:
            break
        page = groups_of(reviewer, run, limit=1, cursor=page["next"])
    assert len(seen) == len(set(seen)) == run_of(reviewer, run)["open"] > 0


def test_an_answer_teaches_at_once(reviewer, run):
    """The others of the new label decide themselves, and the metrics count what is left."""
    yellow = of_name(reviewer, run, "yellow")
    before = run_of(reviewer, run)["open"]
    reply = decide(reviewer, yellow[:2], {"label": "yellow"}).json()
    assert reply["refused"] == {}
    assert reply["re_voted"] > 0
    after = run_of(reviewer, run)
    assert after["open"] == before - 2 - reply["newly_confident"] + reply["newly_open"]
    assert {item["label"] for item in lines(reviewer, run) if item["id"] in yellow[2:]} == {"yellow"}
    counts = {row["label"]: row["examples"] for row in reviewer.get("/v1/labels").json()["labels"]}
    assert counts["yellow"] == 2
    assert f"lmm_review_open {float(after['open'])}" in reviewer.get("/metrics").text


def test_everything_can_be_undone(reviewer, run):
    """In turn, back to the beginning; undoing again changes nothing."""
    before = state_of(reviewer, run)
    yellow = of_name(reviewer, run, "yellow")
    for items, decision in (
        (yellow[:3], {"label": "yellow"}),
        (yellow[3:4], "unknown"),
        (yellow[4:], "skip"),
        (of_name(reviewer, run, "blue")[:1], "not_in_group"),
    ):
        assert decide(reviewer, items, decision).status_code == 200
    answers = reviewer.get("/v1/review/answers", params={"run": run}).json()["answers"]
    assert [answer["kind"] for answer in answers] == ["not_in_group", "skip", "unknown", "label"]
    assert answers[3]["size"] == 3
    for answer in answers:
        assert undo(reviewer, answer["id"]).status_code == 200
    assert state_of(reviewer, run) == before
    assert undo(reviewer, answers[0]["id"]).status_code == 200
    assert state_of(reviewer, run) == before


@pytest.mark.parametrize("decision", [{"label": "yellow"}, "unknown", "skip", "not_in_group"])
def test_an_answer_may_be_sent_again(reviewer, run, decision):
    """A client that got no reply does not know whether its answer was taken."""
    yellow = of_name(reviewer, run, "yellow")[:2]
    first = decide(reviewer, yellow, decision).json()
    again = decide(reviewer, yellow, decision)
    assert again.status_code == 200
    assert (again.json()["answer"], again.json()["edit"]) == (first["answer"], first["edit"])
    assert len(reviewer.get("/v1/review/answers", params={"run": run}).json()["answers"]) == 1


def test_two_people(reviewer, run):
    """The second learns that the first was there; nothing changes."""
    yellow = of_name(reviewer, run, "yellow")
    first = decide(reviewer, yellow[:1], {"label": "yellow"}).json()
    before = state_of(reviewer, run)
    reply = decide(reviewer, yellow[:1], {"label": "red"})
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/answered")
    decide(reviewer, yellow[:1], "not_in_group")
    assert undo(reviewer, first["answer"]).status_code == 409
    assert state_of(reviewer, run)[2] == before[2]


def test_without_waiting(reviewer, run):
    """The reply says that the vote is not known yet."""
    reply = decide(reviewer, of_name(reviewer, run, "yellow")[:1], {"label": "yellow"}, vote="false").json()
    assert reply["re_voted"] is reply["newly_confident"] is None
    assert reply["answer"] is not None


@pytest.mark.long
@pytest.mark.parametrize(
    ("items", "decision", "status"),
    [
        ([], "skip", 400),
        ([1], "perhaps", 400),
        ([1], {"label": ""}, 400),
        ([0], "skip", 400),
        ([2**63], "skip", 400),
        ([2**62], "skip", 404),
        ([1], {"label": "\u200b"}, 422),
        (["1"], "skip", 400),
    ],
)
def test_refused_answers(reviewer, run, items, decision, status):
    """Each with a problem."""
    reply = decide(reviewer, items, decision)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")


def test_hostile_labels(reviewer, run):
    """A label is text, whatever it holds."""
    label = '"><script>alert(1)</script>../..'
    item = of_name(reviewer, run, "yellow")[:1]
    reply = decide(reviewer, item, {"label": f"{label}\u202e"})
    assert (reply.status_code, "U+202E" in reply.json()["detail"]) == (422, True)
    assert decide(reviewer, item, {"label": label}).status_code == 200
    assert [line["decision"] for line in lines(reviewer, run) if line["id"] in item] == [
        {"kind": "label", "label": label}
    ]


def test_stopping(reviewer, run):
    """The advice is that of the review."""
    advice = reviewer.get("/v1/review/stopping", params={"run": run, "target": 0.5}).json()
    assert advice["open"] == run_of(reviewer, run)["open"]
    assert advice["target"] == 0.5
    for target in ("0", "2", "nan"):
        assert reviewer.get("/v1/review/stopping", params={"run": run, "target": target}).status_code == 422
    assert reviewer.get("/v1/review/stopping", params={"run": run, "target": "x"}).status_code == 400


def test_accepting_the_rest(reviewer, run):
    """It is an answer that can be undone; without a calibration it is refused."""
    address = "/v1/review/accept"
    assert reviewer.post(address, json={"run": run}).status_code == 422
    assert reviewer.post(address, json={"run": 99}).status_code == 404
    for body in ({}, {"run": run, "target": 2}, {"run": run, "target": "x"}, {"run": run, "more": 1}):
        assert reviewer.post(address, json=body).status_code == 400
    assert reviewer.post("/v1/calibration", json={"recalibrate": True}).status_code == 202
    assert reviewer.state.calibrating.wait()
    before = state_of(reviewer, run)
    reply = reviewer.post(address, json={"run": run, "target": 0.01})
    assert (reply.status_code, reply.json()["edit"]) == (200, None), reply.json()
    decisions = [line["decision"] for line in lines(reviewer, run) if line["decision"]]
    assert decisions
    assert {decision["kind"] for decision in decisions} == {"accept"}
    assert reviewer.post(address, json={"run": run, "target": 0.01}).json()["answer"] == reply.json()["answer"]
    assert undo(reviewer, reply.json()["answer"]).status_code == 200
    assert state_of(reviewer, run) == before


def test_a_decision_that_is_none(reviewer, run):
    """The problem says which there are, and where the mistake is."""
    reply = reviewer.post("/v1/review/decisions", json={"items": [1], "decision": "foo"})
    expected = 'decision: Input should be {"label": TEXT}, or one of "unknown", "skip", "not_in_group", "accept".'
    assert (reply.status_code, reply.json()["detail"]) == (400, expected)
    reply = reviewer.post("/v1/review/decisions", json={"items": [1], "decision": {"name": "x"}})
    assert reply.json()["detail"] == "decision.label: Field required."
    reply = reviewer.post("/v1/review/decisions", json={"items": [1], "decisions": "skip", "decision": "skip"})
    assert "decisions: There is no such member. Those that exist: items, decision." in reply.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/review", 400),
        ("/v1/review?run=99", 404),
        ("/v1/review?run=1&cursor=%00", 422),
        ("/v1/review?run=1&limit=21", 400),
        ("/v1/review/answers?run=99", 404),
        ("/v1/review/stopping?run=99", 404),
    ],
)
def test_no_such_review(reviewer, path, status):
    """Whatever is asked for."""
    reviewer.post("/v1/runs", json={})
    assert reviewer.get(path).status_code == status
    assert undo(reviewer, 99).status_code == 404
