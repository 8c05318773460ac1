"""Runs over HTTP: folders and uploads in the background, results that can be asked for again, events."""

import json
import shutil
import time

import pytest

from lmm_classifier.review.images import FolderImages
from lmm_classifier.server.state import ServerState
from tests.helpers.gates import GatedEncoder
from tests.helpers.live_server import PATIENCE, request

HOSTILE = '<img src=x onerror=alert(1)>"\u202e../../etc/passwd\U0001f600.png'


def wait_for(client, condition):
    """Wait until something is so, in the words of `LiveServer`."""
    from tests.helpers.live_server import LiveServer

    LiveServer.wait_until(None, condition)


def started(client, folder="new"):
    """Return a run over a folder that has ended."""
    reply = client.post("/v1/runs", json={"root": "inbox", "folder": folder})
    assert reply.status_code == 202, reply.json()
    wait_for(client, lambda: run_of(client, reply.json()["id"])["state"] not in ("waiting", "running"))
    return reply.json()["id"]


def run_of(client, run):
    return client.get(f"/v1/runs/{run}").json()


def lines(client, run, after=0):
    reply = client.get(f"/v1/runs/{run}/results", params={"after": after})
    assert reply.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in reply.text.splitlines()]


@pytest.fixture
def reviewer(open_client, reviewing_config):
    return open_client(reviewing_config)


def test_a_run_over_a_folder(reviewer, inbox):
    """All images have results, that of `classify` but for the place of the file, which is not told."""
    created = reviewer.post("/v1/runs", json={"root": "inbox", "folder": "new"})
    run = started(reviewer)
    assert created.headers["location"] == f"/v1/runs/{created.json()['id']}"
    values = run_of(reviewer, run)
    assert (values["state"], values["items"], values["total"]) == ("done", 21, 21)
    assert values["source"] == {"kind": "folder", "root": "inbox", "folder": "new"}
    listed = lines(reviewer, run)
    assert {item["name"] for item in listed} == {
        path.relative_to(inbox / "new").as_posix() for path in (inbox / "new").rglob("*.png")
    }
    assert str(inbox) not in json.dumps(listed)
    first = listed[0]
    alone = reviewer.post(
        "/v1/classify", content=(inbox / "new" / first["name"]).read_bytes(), headers={"content-type": "image/png"}
    ).json()
    assert {name: first[name] for name in alone if name != "id"} == {k: v for k, v in alone.items() if k != "id"}
    assert not lines(reviewer, run, max(item["change"] for item in listed))


def test_runs_are_listed_and_deleted(reviewer, monkeypatch):
    """Newest first, in pages; a deleted one is gone with its results."""
    monkeypatch.setattr("lmm_classifier.server.routes.runs._PAGE", 2)
    runs = [reviewer.post("/v1/runs", json={}).json()["id"] for _ in range(3)]
    page = reviewer.get("/v1/runs").json()
    assert [run["id"] for run in page["runs"]] == [runs[2], runs[1]]
    assert page["roots"] == ["inbox"]
    assert [run["id"] for run in reviewer.get(f"/v1/runs?before={page['next']}").json()["runs"]] == [runs[0]]
    assert reviewer.delete(f"/v1/runs/{runs[1]}").json() == {"run": runs[1]}
    assert reviewer.get(f"/v1/runs/{runs[1]}").status_code == 404
    assert reviewer.delete(f"/v1/runs/{runs[1]}").status_code == 404


@pytest.mark.parametrize("folder", ["..", "../..", "/etc", "new/../..", "gone", "new/red/00.png", "a\x00b", "link"])
def test_no_other_folder_is_read(reviewer, inbox, tmp_path, folder):
    """Neither above a root, nor by a link that leads out of it."""
    link = inbox / "link"
    link.symlink_to(tmp_path.parent)
    reply = reviewer.post("/v1/runs", json={"root": "inbox", "folder": folder})
    link.unlink()  # the root is that of other tests too
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/refused-run")
    assert reviewer.post("/v1/runs", json={"root": "other", "folder": "new"}).status_code == 422
    assert not reviewer.get("/v1/runs").json()["runs"]


def test_uploads(reviewer, images):
    """Each becomes an item, also an unreadable one; the same file again is the same item."""
    run = reviewer.post("/v1/runs", json={}).json()["id"]
    files = [("image", (HOSTILE, images[0])), ("image", ("b.png", images[1])), ("image", ("c.png", b"no image"))]
    reply = reviewer.post(f"/v1/runs/{run}/images", files=files)
    assert reply.status_code == 201
    ids = reply.json()["items"]
    assert reviewer.post(f"/v1/runs/{run}/images", files=files[:1]).json()["items"] == ids[:1]
    listed = {item["id"]: item for item in lines(reviewer, run)}
    assert [listed[item]["reason"] == "unreadable" for item in ids] == [False, False, True]
    assert "alert(1)" in listed[ids[0]]["name"]
    values = run_of(reviewer, run)
    assert (values["state"], values["items"], values["unreadable"]) == ("receiving", 3, 1)
    thumb = f"/v1/thumbs/{listed[ids[0]]['content_hash']}?side=64"
    assert reviewer.get(thumb).status_code == 404
    assert reviewer.get(f"{thumb}&item={ids[0]}").headers["content-type"] == "image/jpeg"
    assert reviewer.get(f"{thumb}&item={ids[1]}").status_code in (404, 200)  # 200 where it is kept in memory


def test_uploads_are_bounded(open_client, reviewing_config, images):
    """By images of a run and by bytes of all; nothing of a refused form is kept."""
    reviewing_config.server.max_run_images, reviewing_config.server.max_upload_bytes = 2, 2 * len(images[0])
    client = open_client(reviewing_config)
    run = client.post("/v1/runs", json={}).json()["id"]
    many = [("image", (f"{place}.png", images[0])) for place in range(3)]
    assert client.post(f"/v1/runs/{run}/images", files=many).status_code == 422
    large = [("image", ("large.png", images[0] * 3))]
    assert client.post(f"/v1/runs/{run}/images", files=large).status_code == 422
    assert run_of(client, run)["items"] == 0
    assert client.post(f"/v1/runs/{run}/images", files=many[:1]).status_code == 201


def test_a_folder_takes_no_uploads(reviewer, images):
    """Its images are those of the folder."""
    run = started(reviewer)
    assert reviewer.post(f"/v1/runs/{run}/images", files=[("image", ("a.png", images[0]))]).status_code == 422
    assert reviewer.post(f"/v1/runs/{run}/images", json={}).status_code == 415
    assert reviewer.post("/v1/runs/99/images", files=[("image", ("a.png", images[0]))]).status_code == 404


def test_cancel_and_resume(open_client, reviewing_config):
    """A run stops between two batches, and resumes without classifying an image twice."""
    encoder = GatedEncoder()
    encoder.batch_size = 64
    client = open_client(reviewing_config, encoder)
    encoder.gate.clear()
    encoder.busy.clear()
    run = client.post("/v1/runs", json={"root": "inbox", "folder": "new"}).json()["id"]
    waiting = client.post("/v1/runs", json={"root": "inbox", "folder": "new"}).json()["id"]
    assert encoder.busy.wait(60)
    assert run_of(client, waiting)["state"] == "waiting"
    assert client.post(f"/v1/runs/{waiting}/cancel").json()["state"] == "cancelled"
    reviews = client.state.reviews
    reviews.jobs.cancel(run)
    encoder.gate.set()
    wait_for(client, lambda: run_of(client, run)["state"] == "cancelled")
    done = run_of(client, run)["items"]
    assert 0 < done < 21
    assert client.post(f"/v1/runs/{run}/resume").status_code == 202
    wait_for(client, lambda: run_of(client, run)["state"] == "done")
    assert run_of(client, run)["items"] == 21
    assert client.post("/v1/runs/99/cancel").status_code == 404


def test_an_interrupted_run_resumes(open_client, reviewing_config, inbox):
    """What a server left in the middle is found by the next one."""
    first = open_client(reviewing_config)
    store = first.state.reviews.reviewer.runs
    run = store.create(FolderImages(inbox / "new").describe(), 21).id
    strange = store.create({"kind": "folder", "folder": "/elsewhere/secret"}, 5).id
    first.__exit__(None, None, None)
    second = open_client(reviewing_config)
    assert run_of(second, run)["state"] == "interrupted"
    assert second.post(f"/v1/runs/{run}/resume").json()["state"] in ("waiting", "running", "done")
    wait_for(second, lambda: run_of(second, run)["state"] == "done")
    assert "elsewhere" not in second.get(f"/v1/runs/{strange}").text
    assert second.post(f"/v1/runs/{strange}/resume").status_code == 422


def test_a_folder_that_is_gone_fails(open_client, reviewing_config, tmp_path):
    """The run says why, without the path."""
    (tmp_path / "root" / "a").mkdir(parents=True)
    reviewing_config.server.roots = {"mine": tmp_path / "root"}
    client = open_client(reviewing_config)
    (tmp_path / "root" / "a" / "x.png").write_bytes(b"")
    run = client.post("/v1/runs", json={"root": "mine", "folder": "a"}).json()["id"]
    wait_for(client, lambda: run_of(client, run)["state"] == "done")
    reviews: ServerState = client.state.reviews
    reviews.reviewer.runs.set_state(run, "cancelled")
    (tmp_path / "root" / "a" / "x.png").unlink()
    (tmp_path / "root" / "a").rmdir()
    assert client.post(f"/v1/runs/{run}/resume").status_code == 422
    reviews.jobs.start(run)
    wait_for(client, lambda: run_of(client, run)["state"] == "failed")
    assert run_of(client, run)["failure"] == "The folder is not there any more."


@pytest.mark.parametrize("path", ["/v1/runs/x", "/v1/runs/0", "/v1/runs/1/results?after=-1", "/v1/runs?before=y"])
def test_numbers(client, path):
    """Whatever stands in an address."""
    assert client.get(path).status_code == 400


def test_without_runs(client):
    """Nothing is there."""
    assert client.get("/v1/runs/1").status_code == 404
    assert client.get("/v1/runs/1/results").status_code == 404
    assert client.get("/v1/runs/1/events").status_code == 404
    assert client.get("/v1/runs").json() == {"runs": [], "roots": [], "next": None}


def test_events(open_server, reviewing_config):
    """A listener sees the state, then the answers and what they change, until the server ends."""
    server = open_server(reviewing_config)
    body = json.dumps({"root": "inbox", "folder": "new"}).encode()
    run = server.ask(request("POST", "/v1/runs", body, content_type="application/json")).json["id"]
    server.wait_until(lambda: server.ask(request("GET", f"/v1/runs/{run}")).json["state"] == "done")
    with server.connect() as stream:
        stream.sendall(request("GET", f"/v1/runs/{run}/events"))
        assert b'"state": "done"' in until(stream, b"event: progress")
        page = server.ask(request("GET", f"/v1/review?run={run}")).json
        item = page["groups"][0]["items"][0]["id"]
        answer = json.dumps({"items": [item], "decision": {"label": "yellow"}}).encode()
        server.ask(request("POST", "/v1/review/decisions?vote=false", answer, content_type="application/json"))
        seen = until(stream, b"event: revote")
        assert b"event: answer" in seen
        server.stop()
        assert until(stream, None) is not None


def until(stream, mark):
    """Read a stream until a mark and the end of its event; None reads to the end."""
    data = b""
    while mark is None or mark not in data or not data.split(mark)[-1].count(b"\n\n"):
        more = stream.recv(65536)
        if not more:
            assert mark is None, data
            return data
        data += more
    return data


def test_no_path_of_the_disk_is_told(open_client, reviewing_config, tmp_path):
    """Neither of a file that is no image, nor of one that was uploaded."""
    root = tmp_path / "secret"
    root.mkdir()
    (root / "x.png").write_bytes(b"no image")
    reviewing_config.server.roots = {"inbox": root}
    client = open_client(reviewing_config)
    folder = client.post("/v1/runs", json={"root": "inbox"}).json()["id"]
    upload = client.post("/v1/runs", json={}).json()["id"]
    assert client.post(f"/v1/runs/{upload}/images", files={"image": ("x.png", b"no image too")}).status_code == 201
    for run in (folder, upload):
        wait_for_items(client, run)
        text = client.get(f"/v1/runs/{run}/results").text
        assert "x.png" in text
        assert "unreadable" in text
        assert str(tmp_path) not in text


def wait_for_items(client, run):
    """Wait until a run has an item."""
    end = time.monotonic() + PATIENCE
    while not client.get(f"/v1/runs/{run}").json()["items"]:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_run_over_an_archive(open_client, reviewing_config, inbox, tmp_path):
    """It has the results of the folder; its images are shown, and teach."""
    shutil.make_archive(str(tmp_path / "new"), "zip", inbox / "new")
    reviewing_config.server.roots = {"inbox": inbox, "packed": tmp_path / "new.zip"}
    client = open_client(reviewing_config)
    expected = {item["name"]: item["content_hash"] for item in lines(client, started(client))}
    run = client.post("/v1/runs", json={"root": "packed", "folder": ""}).json()["id"]
    wait_for(client, lambda: run_of(client, run)["state"] == "done")
    assert run_of(client, run)["source"] == {"kind": "folder", "root": "packed", "folder": "."}
    items = lines(client, run)
    assert {item["name"]: item["content_hash"] for item in items} == expected
    item = items[0]
    assert client.get(f"/v1/thumbs/{item['content_hash']}?side=64&item={item['id']}").status_code == 200
    decision, before = {"items": [item["id"]], "decision": {"label": "new pattern"}}, client.get("/v1/index").json()
    taught = client.post("/v1/review/decisions", json=decision)
    assert taught.status_code in (200, 201), taught.json()
    after = client.get("/v1/index").json()
    assert (after["examples"], after["labels"]) == (before["examples"] + 1, before["labels"] + 1)
