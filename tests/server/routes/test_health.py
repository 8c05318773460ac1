"""Alive is not ready: an image must have gone through."""

import pytest

from tests.helpers.gates import broken


def test_ready_after_an_image_went_through(client):
    """Of its own, where nobody asked."""
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    assert client.state.queue.statistics.ended["answered"] >= 1


def test_not_ready_where_no_image_goes_through(open_client, config, encoder):
    """The server lives, and says why it is not ready."""
    encoder.errors = [broken() for _ in range(1000)]
    client = open_client(config, encoder, wait=False)
    while "EncoderError" not in client.get("/readyz").text:
        assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("setting", ["failure", "draining"])
def test_not_ready_at_the_begin_and_at_the_end(open_client, config, setting):
    """A load balancer sends nobody here."""
    client = open_client(config)
    if setting == "failure":
        client.state.failure = ValueError("secret")
    else:
        client.state.start_draining()
    reply = client.get("/readyz")
    assert (reply.status_code, reply.json()["status"]) == (503, "not ready")
    assert "secret" not in reply.text
    assert client.get("/healthz").status_code == 200
