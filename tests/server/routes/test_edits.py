"""The journal over HTTP: every edit can be undone, and labels renamed and merged."""

import pytest

from tests.server.routes.test_examples import listed, seen


def post(client, path, **body):
    return client.post(path, json=body)


def state_of(client):
    return {(row["id"], row["path"], row["label"]) for row in listed(client)}


def test_undoing_everything_returns_the_beginning(teacher, images):
    """Newest first, and an undo can be undone."""
    before = state_of(teacher)
    teacher.post("/v1/examples", data={"label": "x"}, files={"image": images[0]})
    teacher.patch("/v1/examples", json={"examples": seen(*listed(teacher, "red")[:2]), "label": "x"})
    post(teacher, "/v1/labels/merge", label="x", new="green")
    changed = state_of(teacher)
    assert changed != before
    edits = [edit["id"] for edit in teacher.get("/v1/edits").json()["edits"] if edit["kind"] != "build"]
    for edit in edits:
        assert post(teacher, f"/v1/edits/{edit}/undo").status_code == 200
    assert state_of(teacher) == before
    undone = teacher.get("/v1/edits").json()["edits"]
    assert {edit["id"] for edit in undone if edit["undone_by"]} == set(edits)


def test_the_first_edit_cannot_be_undone(teacher):
    """It made the index; the problem says so, and is no fault of the server."""
    first = teacher.get("/v1/edits").json()["edits"][-1]["id"]
    reply = post(teacher, f"/v1/edits/{first}/undo")
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/refused-edit")
    assert "it made the index" in reply.json()["detail"]


def test_an_example_that_changed_since_is_a_conflict(teacher):
    """The problem names it."""
    red = listed(teacher, "red")[:1]
    edit = teacher.patch("/v1/examples", json={"examples": seen(*red), "label": "green"}).json()["edit"]
    teacher.patch("/v1/examples", json={"examples": seen({**red[0], "label": "green"}), "label": "blue_left"})
    reply = post(teacher, f"/v1/edits/{edit}/undo")
    assert reply.status_code == 409
    assert [conflict["path"] for conflict in reply.json()["conflicts"]] == [red[0]["path"]]


@pytest.mark.parametrize(("edit", "status"), [("99", 404), ("0", 400), ("x", 400), ("-1", 400), ("9" * 30, 400)])
def test_no_such_edit(teacher, edit, status):
    """Whatever is asked for."""
    assert post(teacher, f"/v1/edits/{edit}/undo").status_code == status
    assert teacher.get("/v1/edits", params={"before": edit}).status_code == (400 if status == 400 else 200)


def test_rename_and_merge(teacher):
    """A new name must be new; a merge needs a label that is there."""
    assert post(teacher, "/v1/labels/rename", label="red", new="green").status_code == 422
    assert post(teacher, "/v1/labels/merge", label="red", new="none").status_code == 422
    assert post(teacher, "/v1/labels/rename", label="none", new="some").status_code == 422
    assert len(post(teacher, "/v1/labels/rename", label="red", new="crimson").json()["relabeled"]) == 6
    assert len(post(teacher, "/v1/labels/merge", label="crimson", new="green").json()["relabeled"]) == 6
    labels = {row["label"]: row["examples"] for row in teacher.get("/v1/labels").json()["labels"]}
    assert labels == {"blue_left": 6, "blue_right": 6, "green": 12}


def test_the_journal_has_pages(teacher, monkeypatch):
    """The newest first; the last page has no next one."""
    monkeypatch.setattr("lmm_classifier.server.routes.edits._PAGE", 2)
    for new, former in (("dark", "red"), ("red", "dark")):
        post(teacher, "/v1/labels/rename", label=former, new=new)
    first = teacher.get("/v1/edits").json()
    second = teacher.get("/v1/edits", params={"before": first["next"]}).json()
    assert [len(first["edits"]), len(second["edits"]), second["next"]] == [2, 1, None]
