"""HEAD gets the head of GET."""

import pytest


@pytest.mark.parametrize("address", ["/healthz", "/readyz", "/metrics", "/", "/v1/index", "/v1/nothing"])
def test_the_head_of_get(client, address):
    """The same status and type, and no body."""
    got, head = client.get(address), client.head(address)
    assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
    assert head.content == b""


def test_other_methods_stay(client):
    """Where GET is not allowed, HEAD is not."""
    assert client.head("/v1/classify").status_code == 405
