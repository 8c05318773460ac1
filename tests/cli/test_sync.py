"""`sync` brings an index up to date with its folder, and can be interrupted."""

import json
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import numpy as np
import pytest

from lmm_classifier.data.synthetic.catalog import draw
from tests.helpers.command_line import COMMAND, OFFLINE, run


def test_renamed_and_removed_images(editable):
    """No image is encoded again; the report has the same changes as JSON."""
    (editable / "dataset" / "stripes").rename(editable / "dataset" / "lines")
    (editable / "dataset" / "gingham" / "00.png").unlink()
    done = run("sync", "--report", "report.json", "--config", OFFLINE, cwd=editable)
    assert "4 renamed: stripes/00.png -> lines/00.png" in done.stdout
    assert "1 removed: gingham/00.png" in done.stdout
    assert "11 unchanged, 0 encoded" in done.stdout
    assert json.loads((editable / "report.json").read_text())["changes"]["encoded"] == 0


def test_a_sync_can_repeat_the_calibration(editable):
    """As it was asked for, although the images changed; a renamed label alone needs none."""
    run("calibrate", "--keep-known", 0.9, "--config", OFFLINE, cwd=editable)
    (editable / "dataset" / "stripes").rename(editable / "dataset" / "lines")
    assert "stale" not in run("sync", "--config", OFFLINE, cwd=editable).stdout
    (editable / "dataset" / "gingham" / "00.png").unlink()
    done = run("sync", "--config", OFFLINE, cwd=editable)
    assert f"stale: calibration: run `lmm-classifier calibrate --config {OFFLINE}` to repeat it" in done.stdout
    done = run("sync", "--recalibrate", "--config", OFFLINE, cwd=editable)
    assert "accepts 90% of images of known labels" in done.stdout
    assert "stale" not in run("info", "--config", OFFLINE, cwd=editable).stdout


def test_a_folder_that_does_not_exist_and_an_npz_file_are_refused(durable, tmp_path):
    """An `.npz` file cannot be edited: the error names the command that makes it a durable index."""
    assert "does not exist" in run("sync", "nowhere", "--config", OFFLINE, cwd=durable, code=1).stderr
    run("export", durable / "index", "--output", tmp_path / "copy.npz")
    done = run("sync", "--index", tmp_path / "copy.npz", "--config", OFFLINE, code=1)
    assert "lmm-classifier import" in done.stderr


@pytest.mark.long
def test_an_interrupted_sync_resumes(editable):
    """Ctrl-C says that nothing is lost; what was stored is not encoded again."""
    for label in ("argyle", "ogee", "chevron"):
        (editable / "dataset" / label).mkdir()
        for number in range(40):
            draw(label, np.random.default_rng(number), 48).save(editable / "dataset" / label / f"{number}.png")
    command = [COMMAND, "sync", "--batch-size", "1", "--config", OFFLINE]
    with subprocess.Popen(command, cwd=editable, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 30
        while stored_vectors(editable / "index") < 60 and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        message = running.stderr.read()
    assert running.returncode == 130
    assert "Run the same command again to resume." in message
    done = run("sync", "--config", OFFLINE, cwd=editable)
    assert "120 added" in done.stdout
    encoded = int(done.stdout.split(" encoded")[0].rsplit(" ", 1)[1])
    assert encoded <= 76


def stored_vectors(index):
    """Return how many vectors are in the database."""
    with closing(sqlite3.connect(index / "index.sqlite")) as connection:
        return connection.execute("SELECT count(*) FROM vectors").fetchone()[0]
