"""Items, groups and answers as JSON: whole, and without a path of the disk."""

import json

import pytest

pytest.importorskip("fastapi", reason="the extra `server` is not installed")

from lmm_classifier.index.formats import read_index
from lmm_classifier.pipeline.stages.unreadable import unreadable
from lmm_classifier.review.ordering import ReviewGroup
from lmm_classifier.review.storage.records import Answer, Item, ItemDecision
from lmm_classifier.server.results import ExampleIds
from lmm_classifier.server.reviewing.values import answer_values, group_values, item_values


@pytest.fixture(scope="module")
def ids(made_index):
    return ExampleIds(read_index(made_index / "index"))


def item(ids):
    """Return an item whose result names an example, one that was removed since, and its file."""
    neighbors = [{"path": path, "label": "red", "similarity": 1.0} for path in (ids.contents.paths[0], "gone.png")]
    candidates = [{"label": "red", "score": 1.0, "rerank_score": None, "neighbors": neighbors}]
    values = unreadable("unknown", "/srv/in/a.png", "/srv/in/a.png cannot be read", None).to_dict()
    result = {**values, "candidates": candidates}
    return Item(3, 1, "a.png", "0" * 64, result, 7, ItemDecision("label", "red", apart=True))


def test_an_item_has_ids_in_the_place_of_files(ids):
    """Its own file, and the examples that it looks like."""
    values = item_values(item(ids), ids)
    assert "/srv" not in json.dumps(values)
    assert values["path"] is None
    assert values["error"] == "a.png cannot be read"
    found = values["candidates"][0]["neighbors"]
    assert [neighbor["id"] for neighbor in found] == [ids.contents.hashes[0], None]
    assert (values["id"], values["name"], values["index_version"], values["apart"]) == (3, "a.png", 7, True)
    assert values["decision"] == {"kind": "label", "label": "red"}


def test_a_group_has_its_first_items_whole():
    """The others are ids, and none is lost or there twice."""
    group = ReviewGroup("compete", (5, 4, 9, 1), "red", 2.0, 0.5, 0.25)
    values = group_values(group, [{"id": 5}, {"id": 4}])
    assert [item["id"] for item in values["items"]] + values["rest"] == [5, 4, 9, 1]
    assert (values["size"], values["suggested_label"], values["kind"]) == (4, "red", "compete")


def test_a_large_answer_is_cut_but_counted():
    """The page shows the first hundred."""
    former = {number: ItemDecision() for number in range(1, 251)}
    values = answer_values(Answer(2, 1, "2026-01-01", "done", "label", "red", former, edit=4))
    assert values["items"] == list(range(1, 101))
    assert (values["size"], values["edit"], values["label"]) == (250, 4, "red")
