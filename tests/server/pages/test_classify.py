"""The first page answers, teaches and undoes without scripts."""

import re
from html import unescape

import pytest

from lmm_classifier.server.pages.environment import segment
from tests.helpers.forms import followed, send

PAGE = {"accept": "text/html"}


def _give(client, *images, **headers):
    files = [("image", ("x.png", data, "image/png")) for data in images]
    return client.post("/", files=files, headers={**PAGE, **headers}, follow_redirects=False)


def test_one_image_leads_to_its_result(client, images):
    """The result has an address, choices and neighbors; the image is shown from memory."""
    reply = _give(client, images[0])
    address = reply.headers["location"]
    assert re.fullmatch("/results/[0-9a-f]{64}", address)
    page = client.get(address).text
    assert "It looks like" in page
    assert page.count("data-key=") > 3
    assert client.get(f"{address}/image?side=64").headers["content-type"] == "image/jpeg"
    near = re.search(r'href="(/results/\w+/compare/\w+)"', page).group(1)
    assert "Side by side" in client.get(near).text
    assert client.get(f"{address}/compare/{'0' * 64}").status_code == 404


def test_several_images_and_one_that_cannot_be_read(client, images):
    """Each has a card; the address names them, and one that is not kept is said to be lost."""
    address = _give(client, images[0], images[1], b"no image").headers["location"]
    page = client.get(address).text
    assert page.count("<article") == 3
    assert "cannot be read" in page
    assert "1 images of this address are not kept" in client.get(f"{address}+{'0' * 64}").text
    assert client.get("/results/" + "0" * 64, headers=PAGE).status_code == 404


def test_a_script_gets_the_cards_alone(client, images):
    """And problems as JSON."""
    reply = _give(client, images[0], **{"hx-request": "true"})
    assert reply.status_code == 200
    assert reply.text.lstrip().startswith("<article")
    assert _give(client, *[images[0]] * 21, **{"hx-request": "true"}).json()["status"] == 413
    assert client.post("/", data={"x": "1"}, headers=PAGE).status_code == 415


@pytest.mark.parametrize("label", ["red", '"><script>alert(1)</script>', "a/b ..", "مرحبا"])
def test_an_image_is_taught_relabeled_and_undone(teacher, images, label):
    """Each is an edit, told in words with a button that undoes it."""
    address = _give(teacher, images[0]).headers["location"]
    page = followed(teacher, send(teacher, f"{address}/teach", label=label))
    assert "1 example added" in page
    assert f'href="/dataset/labels/{segment(label)}"' in page
    assert "<script>alert" not in page
    page = followed(teacher, send(teacher, f"{address}/teach", label="green"))
    assert f"1 example relabeled from {label} to green" in unescape(page)
    undo = re.search(r'action="(/edits/\d+/undo)"', page).group(1)
    page = followed(teacher, send(teacher, undo, then=address))
    assert f"Undone: 1 example relabeled from green to {label}" in unescape(page)


def test_a_label_that_cannot_be_one_is_refused(teacher, images):
    """With a page that says why."""
    address = _give(teacher, images[0]).headers["location"]
    for label in ("", " ", "unknown"):
        reply = send(teacher, f"{address}/teach", label=label)
        assert reply.status_code in (400, 422)
        assert reply.headers["content-type"].startswith("text/html")
