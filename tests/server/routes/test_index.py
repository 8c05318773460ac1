"""What the index holds, and how the server is set up, without paths and secrets."""

import pytest

from tests.contracts.test_readers import needs
from tests.helpers.datasets import offline_config
from tests.server.routes.test_examples import listed


def test_the_index_is_described(client, made_index):
    """Its version is in the answer and in the headers; no path of the disk is."""
    reply = client.get("/v1/index")
    values = reply.json()
    assert (values["examples"], values["labels"], values["lag_seconds"]) == (24, 4, 0)
    assert values["calibration"]["state"] == "missing"
    assert values["version"] == int(reply.headers["x-index-version"])
    assert str(made_index) not in reply.text


def test_settings_have_no_paths_and_no_secrets(open_client, config, made_index, monkeypatch):
    """Headers, paths and bodies are only said to be set."""
    monkeypatch.setenv("KEY", "very secret key")
    config.set('rerank.server.extra_headers={X-Key: "very secret ${KEY}"}')
    config.set("rerank.server.extra_body={user: hidden-user}")
    config.logging.file = made_index / "log"
    reply = open_client(config).get("/v1/config")
    assert reply.json()["server"]["queue"] == 64
    assert reply.json()["retrieval"]["index_path"] == "…"
    for word in ("very secret", "hidden-user", str(made_index)):
        assert word not in reply.text


def test_labels_and_examples(client):
    """All of them, in pages, and those of a label."""
    labels = client.get("/v1/labels")
    assert {row["label"]: row["examples"] for row in labels.json()["labels"]} == dict.fromkeys(
        ("blue_left", "blue_right", "green", "red"), 6
    )
    examples = listed(client)
    assert len({row["id"] for row in examples}) == 24
    assert [row["path"] for row in examples] == sorted(row["path"] for row in examples)
    assert [row["label"] for row in listed(client, "red")] == ["red"] * 6
    assert listed(client, "none") == []
    for address in ("/v1/labels", "/v1/examples"):
        tag = client.get(address).headers["etag"]
        assert client.get(address, headers={"if-none-match": tag}).status_code == 304


def test_labels_have_samples_and_what_they_are_confused_with(auditor, teacher):
    """Null before the first audit, which asking does not start; thin are those that the audit calls so."""
    for row in teacher.get("/v1/labels").json()["labels"]:
        assert row["confusable"] is None
        assert len(set(row["samples"])) == 4
        assert teacher.get(f"/v1/thumbs/{row['samples'][0]}").status_code == 200
    values, audit = auditor.get("/v1/labels").json(), auditor.state.auditing.view().audit
    assert values["audited_version"] == values["index_version"]
    assert {row["label"]: row["examples"] for row in values["labels"] if row["thin"]} == audit.thin
    pairs = {
        (row["label"], other["label"]): other["predicted_as"] for row in values["labels"] for other in row["confusable"]
    }
    assert {pair: count for pair, count in pairs.items() if count} == {
        (pair.label, pair.predicted_as): pair.count for pair in audit.confusable
    }
    reverse = {(b, a): n for (a, b), n in pairs.items()}
    for row in values["labels"]:
        for other in row["confusable"]:
            assert other["predicted_from"] == reverse.get((row["label"], other["label"]), 0)
    auditor.post("/v1/labels/rename", json={"label": "green", "new": "grass"})
    renamed = auditor.get("/v1/labels").json()["labels"]
    assert "green" not in {other["label"] for row in renamed for other in row["confusable"]}


def test_what_a_client_has_is_not_sent_again(client):
    """Whether it names the tag strong or weak, alone or among others; another tag is not the one."""
    addresses = ("/v1/index", "/v1/config", "/v1/labels", "/v1/examples?label=red", "/v1/calibration", "/v1/edits")
    for address in addresses:
        tag = client.get(address).headers["etag"]
        for given in (tag, f"W/{tag}", f'"a,b", W/"x",{tag}', "*"):
            reply = client.get(address, headers={"if-none-match": given})
            assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", tag)
        for given in ('"other"', tag.strip('"'), tag.replace('"', "'"), "", f'"{tag}"'):
            assert client.get(address, headers={"if-none-match": given}).status_code == 200


def test_the_tag_changes_with_all_that_is_told(teacher, images):
    """A calibration and its staleness are news, whatever the version of the index is."""
    tags = [teacher.get("/v1/index").headers["etag"]]
    teacher.post("/v1/calibration", json={"recalibrate": True})
    assert teacher.state.calibrating.wait()
    tags.append(teacher.get("/v1/index").headers["etag"])
    teacher.post("/v1/examples", data={"label": "red"}, files={"image": images[0]})
    described = teacher.get("/v1/index")
    assert len({*tags, described.headers["etag"]}) == 3
    (stale,) = described.json()["stale"]
    assert "POST /v1/calibration" in stale
    assert "lmm-classifier calibrate" not in described.text
    assert "lmm-classifier" not in teacher.get("/v1/calibration").text


def test_pages_of_examples(client, monkeypatch):
    """Each example is on one page."""
    monkeypatch.setattr("lmm_classifier.server.routes.index._PAGE", 7)
    assert len({row["id"] for row in listed(client)}) == len(listed(client)) == 24
    for cursor in ("x", "ff", "²"):
        assert client.get("/v1/examples", params={"cursor": cursor}).status_code == 400


@pytest.mark.parametrize("name", ["index.npz", pytest.param("index.lance", marks=needs("lance", "pyarrow"))])
def test_an_index_that_cannot_be_edited_says_so(open_client, made_index, tmp_path, images, name, monkeypatch):
    """An .npz file or a table is served, and never changed."""
    from lmm_classifier.index.build.builder import build_index_from_directory
    from lmm_classifier.index.vector_index import Index
    from tests.helpers.encoders import ColorEncoder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "index.npz"
    config = offline_config(path, rerank__enabled=False)
    build_index_from_directory(made_index / "dataset", path, config=config, encoder=ColorEncoder())
    if name == "index.lance":
        config.retrieval.index_path = tmp_path / name
        Index.open(path).save(tmp_path / name)
    client = open_client(config)
    assert client.get("/v1/index").json()["is_writer"] is False
    reply = client.post("/v1/examples", data={"label": "x"}, files={"image": images[0]})
    assert (reply.status_code, reply.json()["type"]) == (403, "/problems/read-only")
    assert client.post("/v1/classify", content=images[0], headers={"content-type": "image/png"}).status_code == 200
