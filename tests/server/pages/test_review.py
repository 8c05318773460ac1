"""The pages of the review, without a browser: runs are listed, started, stopped and deleted with forms."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.server.routes.test_runs import HOSTILE, run_of, wait_for

PAGE = {"accept": "text/html"}


@pytest.fixture
def reviewer(open_client, reviewing_config):
    return open_client(reviewing_config)


def start(client, **form):
    return client.post("/review", data=form, headers=PAGE, follow_redirects=False)


def test_a_run_by_a_form(reviewer):
    """It is started, shown, listed and deleted."""
    assert "There is no run yet" in reviewer.get("/review").text
    reply = start(reviewer, folder="inbox/", inside="new")
    assert (reply.status_code, reply.headers["location"]) == (303, "/review/1")
    wait_for(reviewer, lambda: run_of(reviewer, 1)["state"] == "done")
    page = reviewer.get("/review/1").text
    assert 'data-run="1"' in page
    assert "inbox/new" in page
    assert "inbox/new" in reviewer.get("/review").text
    reply = reviewer.post("/review/1", data={"do": "delete"}, headers=PAGE, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/review")
    assert reviewer.get("/review/1", headers=PAGE).status_code == 404


def test_a_refused_folder_is_said(reviewer):
    """On the page, as text."""
    reply = start(reviewer, folder="inbox/", inside="<script>alert(1)</script>")
    assert reply.status_code == 422
    assert "There is no folder" in reply.text
    assert "<script>alert" not in reply.text
    assert start(reviewer, folder="other/new").status_code == 422
    assert start(reviewer).status_code == 422


def test_stop_and_resume(reviewer):
    """Both lead back to the list; an unknown act is refused."""
    start(reviewer, folder="inbox/new")
    wait_for(reviewer, lambda: run_of(reviewer, 1)["state"] == "done")
    reviewer.state.reviews.reviewer.runs.set_state(1, "cancelled")
    assert 'value="resume"' in reviewer.get("/review").text
    for act, status in (("resume", 303), ("cancel", 303), ("explode", 400)):
        reply = reviewer.post("/review/1", data={"do": act}, headers=PAGE, follow_redirects=False)
        assert reply.status_code == status
    assert reviewer.post("/review/99", data={"do": "resume"}, headers=PAGE).status_code == 422


def test_uploads_have_a_name(reviewer, images):
    """A run without a folder is listed too; names of its images are not markup."""
    run = reviewer.post("/v1/runs", json={}).json()["id"]
    reviewer.post(f"/v1/runs/{run}/images", files=[("image", (HOSTILE, images[0]))])
    for address in ("/review", f"/review/{run}"):
        page = reviewer.get(address).text
        assert f"Uploads, run {run}" in page
        assert "onerror" not in page


@pytest.mark.parametrize(("path", "status"), [("/review/0", 400), ("/review/9", 404), ("/review?before=x", 400)])
def test_no_such_page(reviewer, path, status):
    """A person gets a page."""
    reply = reviewer.get(path, headers=PAGE)
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("text/html")


def test_a_run_whose_images_change_says_so(open_client, reviewing_config, inbox, tmp_path):
    """The page names images as text, the run and the metrics have the figures."""
    root = reviewing_config.server.roots["inbox"] = tmp_path / "inbox"
    shutil.copytree(inbox / "new", root / "new")
    reviewer, folder = open_client(reviewing_config), root / "other & more"
    folder.mkdir()
    for number in range(60):
        pixels = np.random.default_rng(number).integers(120, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"<b>{number}.png")
    start(reviewer, folder="inbox/", inside="new")
    wait_for(reviewer, lambda: run_of(reviewer, 1)["state"] == "done")
    assert not run_of(reviewer, 1)["drift"]["is_alarm"]
    start(reviewer, folder="inbox/", inside=folder.name)
    wait_for(reviewer, lambda: run_of(reviewer, 2)["state"] == "done")
    drift = run_of(reviewer, 2)["drift"]
    assert drift["is_alarm"]
    assert drift["images"] == 60
    page = reviewer.get("/review").text
    assert "The images changed: alarm at image" in page
    assert "less familiar than held-out examples" in page
    assert "No change found in" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "lmm_drift_alarms 1.0" in reviewer.get("/metrics").text
    assert f"lmm_drift_log10 {drift['log10_evidence']}" in reviewer.get("/metrics").text
