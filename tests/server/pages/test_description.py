"""Each type of problem has a page, and the description of the server is one too."""

import re

import pytest

from lmm_classifier.server.problems import PROBLEMS


@pytest.mark.parametrize("slug", PROBLEMS)
def test_each_type_has_a_page(client, slug):
    """Its address is the type of the problem."""
    reply = client.get(f"/problems/{slug}")
    assert reply.status_code == 200
    assert PROBLEMS[slug].title in reply.text
    assert f"Status {PROBLEMS[slug].status}" in reply.text


def test_other_names_have_none(client):
    """And are not repeated as markup."""
    for name in ("x", "%3Cscript%3E", "..%2f..%2fetc%2fpasswd", "queue-full/"):
        reply = client.get(f"/problems/{name}")
        assert reply.status_code == 404
        assert "<script" not in reply.text


def test_pages_work_under_the_policy(client):
    """Without scripts, styles in the text, and addresses of other sites."""
    for address in ("/docs", "/problems/queue-full"):
        reply = client.get(address)
        assert reply.headers["content-type"].startswith("text/html")
        assert not re.search(r"<(script|style|iframe|form|img)|style=|\bon\w+=|https?:", reply.text)
    page = client.get("/docs").text
    assert [path for path in client.get("/openapi.json").json()["paths"] if path not in page] == []
