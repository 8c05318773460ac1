"""One server makes edits; the others follow. Edits are made one after the other, and none is lost half done."""

import asyncio
import subprocess
import sys
import threading

import pytest

pytest.importorskip("fastapi", reason="the extra `server` is not installed")

from lmm_classifier.core.errors import QueueFullError
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.server.editing import LOCK, Editing
from lmm_classifier.server.metrics import Metrics
from lmm_classifier.server.problems import ProblemError
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder

READS = "This server only reads, because another one makes the edits."
TAKEN = "The server that made the edits of this index has ended. This one makes them now."


@pytest.fixture
def classifier(place):
    with HybridClassifier(offline_config(place / "index", rerank__enabled=False), ColorEncoder()) as opened:
        opened.follow_in_background()
        yield opened


@pytest.fixture
def editing(classifier):
    made = Editing(classifier, Metrics(lambda: None))
    yield made
    made.close()


@pytest.mark.long
def test_a_second_server_follows_until_the_first_has_ended(open_client, place, images, caplog):
    """It says so, and has what the first one taught; then it makes the edits, and says that once."""
    config = offline_config(place / "index", rerank__enabled=False)
    first, second = open_client(config), open_client(config)
    form = {"data": {"label": "new"}, "files": {"image": images[0]}}
    reply = second.post("/v1/examples", **form)
    assert (reply.status_code, reply.json()["type"]) == (403, "/problems/read-only")
    assert second.get("/v1/index").json()["why_not_writer"] == READS
    assert READS in second.get("/dataset").text
    assert first.post("/v1/examples", **form).status_code == 201
    assert second.state.classifier.wait_for_index()
    assert "new" in [row["label"] for row in second.get("/v1/labels").json()["labels"]]
    first.__exit__(None, None, None)
    first.__exit__ = lambda *_: None
    caplog.clear()
    for image in images[1:3]:
        assert second.post("/v1/examples", data={"label": "new"}, files={"image": image}).status_code == 201
    assert second.get("/v1/index").json()["is_writer"] is True
    assert READS not in second.get("/dataset").text
    assert [record.message for record in caplog.records if "has ended" in record.message] == [TAKEN]
    third = open_client(config)
    assert third.get("/v1/index").json()["is_writer"] is False


@pytest.mark.long
def test_the_other_server_takes_over_unasked(open_client, place):
    """What the first one could not finish is finished before the next edit."""
    config = offline_config(place / "index", rerank__enabled=False)
    first, second = open_client(config), open_client(config)
    recovered = threading.Event()
    second.state.editing.on_taking_over = recovered.set
    first.__exit__(None, None, None)
    first.__exit__ = lambda *_: None
    assert recovered.wait(60)
    assert second.get("/v1/index").json()["is_writer"] is True


def test_a_killed_server_leaves_the_edits_to_another(place, classifier):
    """The system takes the right back with the process."""
    code = "import sys, filelock; a = filelock.FileLock(sys.argv[1]); a.acquire(); print(1, flush=True); input()"
    command = [sys.executable, "-c", code, str(place / "index" / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline()
        editing = Editing(classifier, Metrics(lambda: None))
        assert editing.why_not == READS
        assert not editing.take_over()
        other.kill()
    assert editing.take_over()
    assert editing.why_not == ""
    editing.close()


def test_too_many_edits_are_refused(editing):
    """They wait in a row of bounded length; those inside are made."""
    gate, begun = threading.Event(), threading.Event()

    def edit(editor):
        begun.set()
        assert gate.wait(60)
        return editor.rename_label("red", "red")

    async def ask():
        inside = [asyncio.create_task(editing.run("rename_label", edit)) for _ in range(32)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await editing.run("rename_label", edit)
        gate.set()
        return await asyncio.gather(*inside)

    assert len(asyncio.run(ask())) == 32


def test_a_key_is_for_one_request(editing):
    """Also while the first one is under way; after a failure it may be tried again."""
    made = []

    async def answer():
        await asyncio.sleep(0)
        made.append(1)
        return len(made)

    async def fails():
        raise ValueError("it failed")

    async def ask():
        both = await asyncio.gather(*(editing.once("k", "same", answer) for _ in range(5)))
        assert both == [1] * 5
        with pytest.raises(ProblemError):
            await editing.once("k", "other", answer)
        with pytest.raises(ValueError, match="it failed"):
            await editing.once("f", "same", fails)
        assert await editing.once("f", "same", answer) == 2
        assert await editing.once(None, "same", answer) == 3
        for number in range(1100):
            await editing.once(str(number), "same", answer)
        assert len(editing._answers) <= 1000

    asyncio.run(ask())


def test_a_client_that_goes_away_leaves_a_whole_edit(editing, classifier):
    """The edit is made, although nobody waits for its report."""
    gate, begun = threading.Event(), threading.Event()

    def edit(editor):
        begun.set()
        assert gate.wait(60)
        return editor.rename_label("red", "crimson")

    async def ask():
        task = asyncio.create_task(editing.run("rename_label", edit))
        await asyncio.to_thread(begun.wait, 60)
        task.cancel()
        gate.set()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(ask())
    editing.close()
    assert classifier.wait_for_index()
    assert "crimson" in classifier.index.label_names
