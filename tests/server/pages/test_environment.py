"""Names of labels become one segment of an address; a server that only reads offers nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.server.pages.environment import exact, marked, segment, text_of
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder
from tests.helpers.forms import PAGE

ADDRESSES = (
    *("/", "/review", "/dataset", "/dataset/labels/red", "/dataset/audit/suspects", "/dataset/audit/duplicates"),
    *("/dataset/audit/outliers", "/edits", "/quality", "/docs", "/problems/read-only"),
)
HARMLESS = {"/", "/dataset/audit"}  # forms of images to classify, and of an audit, which changes nothing


@given(st.text(min_size=1))
def test_any_label_is_one_segment(label):
    """No character of it has a meaning in an address."""
    text = segment(label)
    assert text_of(text) == label
    assert text not in ("%2E", "%2E%2E")  # browsers take these for folders
    assert not set(text) & set("/?#.\\ \"'<>&")


@given(st.text(st.characters(codec="utf-8")))
def test_fields_hold_texts_exactly(text):
    """Also marks that are not printed; markup is escaped."""
    assert exact(text).unescape() == text
    assert not set(exact(text)) & set("<>\"'")


def test_a_text_that_no_field_can_hold_is_left_out():
    """A person then writes it anew."""
    assert exact("a\udc80") == ""


def test_code_in_a_text_is_marked():
    """And the rest is escaped."""
    assert marked("a `b<` & `c`") == "a <code>b&lt;</code> &amp; <code>c</code>"


def _settings(index, mistaken):
    config = offline_config(index, rerank__enabled=False)
    config.server.roots = {"inbox": mistaken / "dataset"}
    return config


@pytest.fixture(
    params=["follower", pytest.param("npz", marks=pytest.mark.long), pytest.param("token", marks=pytest.mark.long)]
)
def reader(request, auditor, mistaken, open_client, tmp_path):
    """An application that only reads, for each reason, with what it says."""
    if request.param == "follower":
        made = open_client(_settings(tmp_path / "mistaken", mistaken))
        return made, "This server only reads, because another one makes the edits."
    if request.param == "npz":
        config = _settings(tmp_path / "index.npz", mistaken)
        build_index_from_directory(mistaken / "dataset", tmp_path / "index.npz", config=config, encoder=ColorEncoder())
        return open_client(config), "This server only reads, because the index is an .npz file, which cannot be edited."
    auditor.__exit__(None, None, None)
    auditor.__exit__ = lambda *_: None
    made = open_client(_settings(tmp_path / "mistaken", mistaken), tokens={"r" * 32: "read"})
    made.headers["authorization"] = f"Bearer {'r' * 32}"
    return made, "Your token may only read."


@pytest.mark.long
def test_no_page_offers_what_would_be_refused(reader, images):
    """Neither forms nor fields nor keys for it."""
    client, said = reader
    while client.state.auditing.view().state == "running":
        pass
    given = client.post("/", files={"image": images[0]}, headers=PAGE, follow_redirects=False)
    for address in (*ADDRESSES, given.headers["location"]):
        reply = client.get(address, headers=PAGE)
        assert reply.status_code == 200, (address, reply.text)
        assert reply.text.count(said) == 1, address
        forms = set(re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', reply.text))
        assert forms <= HARMLESS, (address, forms)
        assert 'name="label"' not in reply.text, address
        assert 'data-key="z"' not in reply.text, address
        assert 'type="checkbox"' not in reply.text, address


def test_a_question_is_shown_and_not_asked(auditor, open_client, mistaken, tmp_path):
    """What looks at it stays; what answers it is gone."""
    first = open_client(_settings(tmp_path / "mistaken", mistaken))
    assert first.state.editing.why_not
    auditor.state.reviews.reviewer.runs.create({"kind": "upload"})
    page = first.get("/review/1", headers=PAGE).text
    acts = set(re.findall(r'data-act="(\w+)"', page))
    assert acts == {"compare", "previous", "next", "previousGroup", "nextGroup", "help"}
