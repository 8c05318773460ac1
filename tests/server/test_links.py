"""The links of the description lead from answers to requests that succeed."""

import pytest

from lmm_classifier.server.links import LINKS, Link, add_links
from tests.helpers.datasets import offline_config

MANY = 30  # steps


def test_a_link_to_nowhere_is_noticed(monkeypatch):
    """The description cannot be made then."""
    paths = {"/a": {"get": {"operationId": "a", "responses": {"200": {}}}}}
    monkeypatch.setattr("lmm_classifier.server.links.LINKS", {("GET /a", 200): [Link("self", "GET /a")]})
    add_links(paths)
    assert paths["/a"]["get"]["responses"]["200"]["links"] == {"self": {"operationId": "a"}}
    monkeypatch.setattr("lmm_classifier.server.links.LINKS", {("GET /a", 200): [Link("gone", "GET /b")]})
    with pytest.raises(KeyError):
        add_links(paths)


@pytest.mark.parametrize(("scenarios", "steps"), [(3, 6), pytest.param(200, MANY, marks=pytest.mark.long)])
def test_requests_along_the_links(open_server, place, inbox, record_property, scenarios, steps):
    """Requests of schemathesis that use what other requests made: no failure of any of its checks."""
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from tests.helpers.generated_requests import ENDLESS, ask_along_links

    config = offline_config(place / "index", rerank__enabled=False)
    config.server.roots = {"inbox": inbox}
    failures = ask_along_links(open_server(config).url, "inbox", scenarios, steps)
    record_property("failures", failures.count)
    record_property("requests", failures.requests.total())
    assert failures.count == 0, str(failures)
    if steps == MANY:
        followed = {link.target for links in LINKS.values() for link in links} - {ENDLESS}
        assert followed - failures.accepted == set()
