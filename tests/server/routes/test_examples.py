"""Teaching over HTTP: add, relabel, remove; what changed since is a conflict, and nothing else changes."""

from hashlib import sha256

import pytest

from lmm_classifier.index.build.editor import IndexEditor
from tests.helpers.datasets import offline_config

PNG = {"content-type": "image/png"}


def listed(client, label=None):
    """Return all examples, or those of a label."""
    found, cursor = [], None
    while True:
        query = {"label": label, "cursor": cursor}
        page = client.get("/v1/examples", params={name: value for name, value in query.items() if value}).json()
        found += page["examples"]
        cursor = page["next"]
        if cursor is None:
            return found


def seen(*examples):
    return [{"id": example["id"], "seen_label": example["label"]} for example in examples]


def test_an_added_image_counts_at_once(teacher, images):
    """It has an id, and the next result has it as a neighbor."""
    files = [("image", ("a.png", images[0], "image/png")), ("image", ("b.png", images[1], "image/png"))]
    reply = teacher.post("/v1/examples", data={"label": "new label", "note": "seen by me"}, files=files)
    assert reply.status_code == 201
    values = reply.json()
    assert [example["id"] for example in values["added"]] == [sha256(image).hexdigest() for image in images[:2]]
    assert (values["visible"], values["examples"]) == (True, 26)
    assert values["index_version"] == int(reply.headers["x-index-version"])
    result = teacher.post("/v1/classify", content=images[0], headers=PNG).json()
    assert values["added"][0]["id"] in [n["id"] for c in result["candidates"] for n in c["neighbors"]]
    assert [example["label"] for example in listed(teacher, "new label")] == ["new label"] * 2
    edit = teacher.get("/v1/edits").json()["edits"][0]
    assert (edit["kind"], edit["origin"], edit["note"], edit["counts"]["added"]) == ("add", "server", "seen by me", 2)


def test_an_answer_that_does_not_wait_names_the_examples(teacher, images):
    """Their ids and labels are those of the index, also before results count them, and where a removal is undone."""
    files = [("image", ("a.png", images[0], "image/png"))]
    values = teacher.post("/v1/examples?visible=false", data={"label": "new label"}, files=files).json()
    added = [{"id": sha256(images[0]).hexdigest(), "path": values["added"][0]["path"], "label": "new label"}]
    assert values["added"] == added
    removed = teacher.request("DELETE", "/v1/examples", json={"examples": seen(*added)}).json()
    undone = teacher.post(f"/v1/edits/{removed['edit']}/undo?visible=false", json={}).json()
    assert undone["added"] == added


def test_an_image_that_is_there_is_skipped(teacher, images):
    """And so is one that cannot be read; no path of the disk is told."""
    files = [("image", ("a.png", data, "image/png")) for data in (images[0], images[0], b"no image")]
    values = teacher.post("/v1/examples", data={"label": "x"}, files=files).json()
    assert (len(values["added"]), len(values["skipped"])) == (1, 2)
    again = teacher.post("/v1/examples", data={"label": "x"}, files=files[:1])
    assert (again.json()["edit"], again.json()["added"]) == (None, [])
    assert "/tmp" not in again.text + str(values)


def test_the_same_key_gets_the_same_answer(teacher, images):
    """A request that is sent again is not done again; another one with its key is refused."""
    asked = {"data": {"label": "x"}, "files": {"image": images[0]}, "headers": {"idempotency-key": "k1"}}
    first = teacher.post("/v1/examples", **asked)
    assert teacher.post("/v1/examples", **asked).json() == first.json()
    asked["data"] = {"label": "y"}
    assert teacher.post("/v1/examples", **asked).status_code == 422
    assert len(teacher.get("/v1/edits").json()["edits"]) == 2  # the build, and one


def test_relabel_and_remove(teacher):
    """By the ids of examples, several in one edit."""
    red = listed(teacher, "red")
    reply = teacher.patch("/v1/examples", json={"examples": seen(*red[:2]), "label": "crimson"})
    assert {row["label"] for row in reply.json()["relabeled"]} == {"crimson"}
    assert len(listed(teacher, "crimson")) == 2
    reply = teacher.request("DELETE", "/v1/examples", json={"examples": seen(*listed(teacher, "crimson"))})
    assert len(reply.json()["removed"]) == 2
    assert listed(teacher, "crimson") == []


def test_what_changed_since_is_a_conflict(teacher, place):
    """Another program changed it, and this one learns of it: nothing else is changed either."""
    red = listed(teacher, "red")
    IndexEditor(place / "index", offline_config(place / "index")).relabel([red[0]["path"]], "green")
    for method, more in (("PATCH", {"label": "crimson"}), ("DELETE", {})):
        reply = teacher.request(method, "/v1/examples", json={"examples": seen(*red), **more})
        assert (reply.status_code, reply.json()["type"]) == (409, "/problems/conflict")
        assert reply.json()["conflicts"] == [{"path": red[0]["path"], "seen_label": "red", "label": "green"}]
    gone = [{"id": "0" * 64, "seen_label": "red"}]
    reply = teacher.request("DELETE", "/v1/examples", json={"examples": gone})
    assert (reply.status_code, reply.json()["conflicts"][0]["label"]) == (409, None)
    teacher.state.classifier.wait_for_index()
    assert len(listed(teacher, "red")) == len(red) - 1


def test_an_example_that_another_program_added_can_be_relabeled(teacher, place, images):
    """Although the version that answers may not have it yet."""
    from tests.helpers.encoders import ColorEncoder

    editor = IndexEditor(place / "index", offline_config(place / "index"), ColorEncoder())
    editor.add([images[0]], "blue_left")
    example = {"id": sha256(images[0]).hexdigest(), "seen_label": "blue_left"}
    assert teacher.patch("/v1/examples", json={"examples": [example], "label": "red"}).status_code == 200


def test_the_last_examples_stay(teacher, images):
    """An index needs one, whatever would remove the last: the removal of all, or an undo."""
    reply = teacher.request("DELETE", "/v1/examples", json={"examples": seen(*listed(teacher))})
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/last-example")
    assert "Add another example first" in reply.json()["detail"]
    former = listed(teacher)
    assert len(former) == 24
    added = teacher.post("/v1/examples", data={"label": "x"}, files={"image": images[0]}).json()
    assert teacher.request("DELETE", "/v1/examples", json={"examples": seen(*former)}).status_code == 200
    reply = teacher.post(f"/v1/edits/{added['edit']}/undo", json={})
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/last-example")
    assert "the last example" in reply.json()["detail"]
    assert [row["label"] for row in listed(teacher)] == ["x"]


@pytest.mark.parametrize("path", ["/v1/examples", "/v1/classify", "/v1/runs/1/images"])
def test_no_part_of_a_form_is_ignored(teacher, images, path):
    """One that is misspelled is told, with those that exist; a label comes once."""
    teacher.post("/v1/runs", json={})
    reply = teacher.post(path, data={"labels": "x"}, files={"image": images[0]})
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/malformed-request")
    assert "'labels'. Those that exist: image" in reply.json()["detail"]
    reply = teacher.post("/v1/examples", data={"label": ["x", "y"]}, files={"image": images[0]})
    assert (reply.status_code, "more than once" in reply.json()["detail"]) == (400, True)


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>',
    "\u202eevil",
    "a\u0000b",
    "../../etc/passwd",
    "%2e%2e",
    "x" * 999,
    "é́",
]


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels(teacher, images, label):
    """They are stored as they are or refused, and never become markup or a path."""
    reply = teacher.post("/v1/examples", data={"label": label}, files={"image": images[0]})
    assert reply.status_code in (201, 422)
    assert reply.headers["content-type"] in ("application/json", "application/problem+json")
    if reply.status_code == 201:
        labels = [row["label"] for row in teacher.get("/v1/labels").json()["labels"]]
        assert reply.json()["added"][0]["label"] in labels


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("PATCH", {}),
        ("PATCH", {"examples": [], "label": "x"}),
        ("PATCH", {"examples": [{"id": "../../etc/passwd", "seen_label": "x"}], "label": "x"}),
        ("PATCH", {"examples": [{"id": "0" * 64}], "label": "x"}),
        ("PATCH", {"examples": [{"id": "0" * 64 + "\n", "seen_label": "x"}], "label": "x"}),
        ("PATCH", {"examples": [{"id": "0" * 64, "seen_label": "x"}], "label": ""}),
        ("DELETE", {"examples": "all"}),
        ("DELETE", []),
    ],
)
def test_malformed_bodies(teacher, method, body):
    """They are 400, with the member that is wrong."""
    reply = teacher.request(method, "/v1/examples", json=body)
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/malformed-request")
    assert teacher.request(method, "/v1/examples?visible=x", json=body).status_code == 400


def test_a_form_needs_a_label_and_images(teacher, images):
    """Else it is 400; what is no form is 415."""
    assert teacher.post("/v1/examples", files={"image": images[0]}).status_code == 400
    assert teacher.post("/v1/examples", data={"label": "x"}, files={"other": images[0]}).status_code == 400
    assert teacher.post("/v1/examples", files={"image": images[0], "label": b"\xff"}).status_code == 400
    assert teacher.post("/v1/examples", content=images[0], headers=PNG).status_code == 415
