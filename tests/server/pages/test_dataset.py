"""Labels and their examples are shown and changed, whatever the labels are called."""

import re

import pytest

from lmm_classifier.server.pages.environment import segment
from tests.helpers.forms import PAGE, followed, send

ODD = (
    "a/b",
    "..",
    ".",
    "~x",
    '"><img src=x onerror=alert(1)>',
    "مرحبا",
    "🌷",
    "a?b#c",
    "100%",
    "x" * 300,
    "می\u200cخواهم",
    "👩\u200d🚀",
)


def _address(label):
    return f"/dataset/labels/{segment(label)}"


def _examples(page):
    return re.findall(r'name="example" value="(\w+)"', page)


def test_all_labels_are_listed_and_found(client):
    """With their counts and samples, in the order that was asked for."""
    page = client.get("/dataset").text
    assert re.findall(r'href="/dataset/labels/(\w+)"', page)[:4] == ["blue_left", "blue_right", "green", "red"]
    assert page.count("/v1/thumbs/") >= 16
    found = client.get("/dataset?q=BLUE&sort=most&page=99").text
    assert "/dataset/labels/green" not in found
    assert "/dataset/labels/blue_left" in found
    assert "No label contains" in client.get("/dataset?q=<b>").text


def test_a_label_shows_its_examples(client):
    """One that does not exist is a page too."""
    page = client.get("/dataset/labels/red").text
    assert len(_examples(page)) == 6
    reply = client.get("/dataset/labels/none", headers=PAGE)
    assert reply.status_code == 404
    assert "No example has the label" in reply.text
    assert client.get("/dataset/labels/%FF", headers=PAGE).status_code == 404


@pytest.mark.long
def test_labels_of_any_name_have_pages_and_can_be_renamed(teacher):
    """There and back, each an edit."""
    former = "red"
    for label in ODD:
        page = followed(teacher, send(teacher, _address(former), action="rename", label=label))
        assert len(_examples(page)) == 6
        assert "<img src=x" not in page
        assert f'href="{_address(label)}"' in teacher.get("/dataset").text
        former = label
    assert label in page  # the field of the new name holds it whole


def test_a_merge_is_asked_for_first(teacher):
    """Then the label is gone."""
    asked = send(teacher, "/dataset/labels/red", action="rename", label="green")
    assert asked.status_code == 200
    assert "Merge" in asked.text
    page = followed(teacher, send(teacher, "/dataset/labels/red", action="rename", label="green", merge="yes"))
    assert len(_examples(page)) == 12
    assert teacher.get("/dataset/labels/red").status_code == 404


def test_chosen_examples_are_relabeled_and_removed(teacher):
    """In one edit each; where one changed meanwhile, nothing is changed."""
    chosen = _examples(teacher.get("/dataset/labels/red").text)
    page = followed(teacher, send(teacher, "/dataset/labels/red", action="relabel", label="new", example=chosen[:2]))
    assert "2 examples relabeled from red to new" in page
    refused = send(teacher, "/dataset/labels/red", action="remove", example=chosen[1:3])
    assert refused.status_code == 409
    assert len(_examples(teacher.get("/dataset/labels/red").text)) == 4
    page = followed(teacher, send(teacher, "/dataset/labels/red", action="remove", example=chosen[2:]))
    assert "4 examples removed" in page
    assert teacher.get("/dataset/labels/red").status_code == 404


@pytest.mark.parametrize("fields", [{}, {"action": "x"}, {"action": "remove"}, {"action": "rename"}])
def test_forms_that_lack_something_change_nothing(teacher, fields):
    """They are refused with a page."""
    assert send(teacher, "/dataset/labels/red", **fields).status_code in (400, 415)
    assert teacher.get("/v1/index").json()["version"] == 1


def test_undoing_a_renaming_leads_to_the_former_name(teacher):
    """The page of the new name is gone."""
    address = send(teacher, "/dataset/labels/red", action="rename", label="crimson").headers["location"]
    undone = send(teacher, "/edits/2/undo", then=address.partition("?")[0])
    moved = teacher.get(undone.headers["location"], headers=PAGE, follow_redirects=False)
    assert moved.headers["location"] == "/dataset/labels/red?edit=3"
