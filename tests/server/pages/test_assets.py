"""Files of pages never change at their address, and what comes from others is what they published."""

import hashlib
import re

import pytest

from lmm_classifier.server.pages.assets import asset, assets

HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"  # of dist/htmx.min.js in htmx.org 2.0.11
_LINES = 300


@pytest.mark.parametrize("name", assets())
def test_each_file_is_served_at_its_address(client, name):
    """With its type, for as long as a browser likes."""
    reply = client.get(asset(name))
    assert reply.content == assets()[name].content
    assert reply.headers["content-type"].split(";")[0] == assets()[name].media_type
    assert "immutable" in reply.headers["cache-control"]


def test_other_addresses_have_none(client):
    """A digest of another version, another name, a path."""
    digest = assets()["page.css"].digest
    for address in (f"/static/{'0' * 16}/page.css", f"/static/{digest}/x.js", f"/static/{digest}/..%2fenvironment.py"):
        assert client.get(address).status_code == 404


def test_htmx_is_the_published_file():
    """Its license lies next to it."""
    assert hashlib.sha256(assets()["htmx.min.js"].content).hexdigest() == HTMX


def test_own_scripts_are_small_and_need_nothing_but_the_server():
    """Each is a module of at most 300 lines, without eval and without addresses of others."""
    for name, file in assets().items():
        text = file.content.decode()
        if not name.endswith(".js") or name == "htmx.min.js":
            continue
        assert len(text.splitlines()) <= _LINES, name
        assert not re.search(r"\beval\(|new Function|innerHTML|outerHTML|document\.write|https?://", text), name
