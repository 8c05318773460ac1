"""What is older than its number of days is deleted; without a number it is kept."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from lmm_classifier.server.retention import Retention

PNG = {"content-type": "image/png"}


@pytest.fixture
def kept(open_client, reviewing_config, images):
    """A server with an edit of its own and a run."""
    client = open_client(reviewing_config)
    files = [("image", ("a.png", images[0])), ("label", (None, "taught"))]
    assert client.post("/v1/examples", files=files).status_code == 201
    assert client.post("/v1/runs", json={"root": "inbox", "folder": "new"}).status_code == 202
    return client


def expire(client, edit_days, run_days, later):
    """Delete what is too old some days later."""
    state = client.state
    settings = state.settings.model_copy(update={"keep_edits_days": edit_days, "keep_runs_days": run_days})
    retention = Retention(settings, state.classifier, state.editing, state.reviews, state.thumbnails.forget)
    asyncio.run(retention.delete_expired(datetime.now(UTC) + timedelta(days=later)))
    return len(client.get("/v1/edits").json()["edits"]), len(client.get("/v1/runs").json()["runs"])


def test_edits_and_runs_have_their_own_ages(kept):
    """The examples stay, whatever is forgotten."""
    edits, runs = expire(kept, None, None, 100)
    assert (edits > 1, runs) == (True, 1)
    assert expire(kept, 4, 4, 3) == (edits, 1)
    assert expire(kept, 2, None, 3) == (0, 1)
    assert expire(kept, None, 2, 3) == (0, 0)
    assert "taught" in kept.state.classifier.index.contents.labels


def test_a_server_that_makes_no_edits_deletes_nothing(kept, open_client, reviewing_config):
    """The one that makes them does."""
    other = open_client(reviewing_config)
    assert other.state.editing.why_not
    settings = other.state.settings.model_copy(update={"keep_runs_days": 0})
    parts = other.state.classifier, other.state.editing, other.state.reviews, other.state.thumbnails.forget
    asyncio.run(Retention(settings, *parts).watch())
    assert len(kept.get("/v1/runs").json()["runs"]) == 1
