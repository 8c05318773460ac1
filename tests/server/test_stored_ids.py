"""A server whose examples stay in a store shows them, as one with all of them in memory, and reads what it shows."""

import pytest

from tests.contracts.test_readers import needs
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder
from tests.server.routes.test_examples import listed

pytestmark = needs("lance", "pyarrow")


@pytest.fixture
def both(open_client, made_index, tmp_path, monkeypatch):
    """Clients of servers of the same table: its examples stay in the store, or are copied."""
    from lmm_classifier.index.build.builder import build_index_from_directory
    from lmm_classifier.index.vector_index import Index

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = offline_config(tmp_path / "index.npz", rerank__enabled=False)
    build_index_from_directory(made_index / "dataset", tmp_path / "index.npz", config=config, encoder=ColorEncoder())
    Index.open(tmp_path / "index.npz").save(tmp_path / "index.lance")
    config.retrieval.index_path = tmp_path / "index.lance"
    stored = config.model_copy(deep=True)
    stored.retrieval.search = "store"
    return open_client(stored), open_client(config)


def test_labels_and_examples_are_shown(both):
    """All of them once, by page; those of a label, and none of a label that there is not."""
    stored, whole = both
    expected = sorted((row["path"], row["label"], row["id"]) for row in listed(whole))
    assert sorted((row["path"], row["label"], row["id"]) for row in listed(stored)) == expected
    for label in ("red", "none"):
        found = listed(stored, label)
        assert sorted(row["path"] for row in found) == [row["path"] for row in listed(whole, label)]
    labels, others = (client.get("/v1/labels").json()["labels"] for client in both)
    assert [(row["label"], row["examples"], row["thin"]) for row in labels] == [
        (row["label"], row["examples"], row["thin"]) for row in others
    ]
    by_label = {label: {row["id"] for row in listed(whole, label)} for label in ("red", "green")}
    for row in labels:
        if row["label"] in by_label:
            assert len(row["samples"]) == 4
            assert set(row["samples"]) <= by_label[row["label"]]


def test_pages_of_examples_follow_each_other(both, monkeypatch):
    """A cursor that this server did not give begins anew, or is refused."""
    stored, _ = both
    monkeypatch.setattr("lmm_classifier.server.routes.index._PAGE", 5)
    paths = [row["path"] for row in listed(stored)]
    assert len(paths) == len(set(paths)) == 24
    assert len({row["path"] for row in listed(stored, "red")}) == 6
    assert stored.get("/v1/examples?cursor=xyz").status_code == 400
    assert stored.get(f"/v1/examples?cursor={b'9999'.hex()}").json()["examples"] == []


def test_answers_have_evidence_that_is_shown(both, images):
    """Each neighbor has the id under which its thumbnail is, the same as with all examples in memory."""
    found = []
    for client in both:
        reply = client.post("/v1/classify", content=images[0], headers={"content-type": "image/png"})
        near = reply.json()["candidates"][0]["neighbors"]
        found.append([(neighbor["path"], neighbor["id"]) for neighbor in near])
        assert all(client.get(f"/v1/thumbs/{content}").status_code == 200 for _, content in found[-1])
    assert found[0] == found[1]
    assert all(content for _, content in found[0])


def test_every_page_opens(both):
    """Those that need all examples say so; nothing says that the index is stale."""
    stored, _ = both
    for address in (
        "/",
        "/dataset",
        "/dataset/labels/red",
        "/map",
        "/quality",
        "/review",
        "/dataset/audit/duplicates",
        "/edits",
    ):
        reply = stored.get(address)
        assert reply.status_code == 200, address
        assert "fitted to other examples" not in reply.text
    assert "24 examples" in stored.get("/dataset").text
    assert stored.get("/dataset/labels/none").status_code == 404
