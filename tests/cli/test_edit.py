"""The commands that change and check an index, as a user types them."""

import json
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import numpy as np
import pytest

from lmm_classifier.data.synthetic.catalog import draw
from tests.cli.test_app import COMMAND, OFFLINE, run
from tests.helpers.corpora import draw_corpus


@pytest.fixture
def place(tmp_path):
    """A folder with a corpus, its index under the name that is the default, and a picture from outside."""
    draw_corpus(tmp_path / "corpus", count=4, size=48)
    draw("argyle", np.random.default_rng(0), 48).save(tmp_path / "photo.png")
    run("build", "corpus", "--config", OFFLINE, cwd=tmp_path)
    return tmp_path


def test_the_life_of_an_index(place):
    """Sync, add, relabel, remove, sync again, doctor: each tells what it did, and the exit code says how it went."""
    (place / "corpus" / "stripes").rename(place / "corpus" / "lines")
    (place / "corpus" / "gingham" / "00.png").unlink()
    report = place / "report.json"
    done = run("sync", "--report", report, "--config", OFFLINE, cwd=place)
    assert "4 renamed: stripes/00.png -> lines/00.png" in done.stdout
    assert "1 removed: gingham/00.png" in done.stdout
    assert "10 unchanged" not in done.stdout
    assert "11 unchanged, 0 encoded" in done.stdout
    assert json.loads(report.read_text())["changes"]["encoded"] == 0
    told = json.loads(run("add", "photo.png", "--label", "argyle", "--json", "--config", OFFLINE, cwd=place).stdout)
    (added,) = told["changes"]["added"]
    assert added.endswith("-photo.png")
    assert told["stale"]
    again = run("add", "photo.png", "--label", "argyle", "--config", OFFLINE, cwd=place)
    assert "already there" in again.stdout
    assert "relabel it" in run("add", "photo.png", "--label", "x", "--config", OFFLINE, cwd=place, code=3).stdout
    assert "1 relabelled" in run("relabel", "lines/00.png", "--to", "gingham", "--config", OFFLINE, cwd=place).stdout
    renamed = run("relabel", "--label", "polka_dots", "--to", "dots", "--config", OFFLINE, cwd=place)
    assert "4 relabelled" in renamed.stdout
    assert "1 removed" in run("remove", "lines/01.png", "nix", "--config", OFFLINE, cwd=place, code=3).stdout
    done = run("sync", "corpus", "--config", OFFLINE, cwd=place)
    assert "1 left out, as they were removed by hand: lines/01.png" in done.stdout
    assert "stale" not in done.stdout
    described = json.loads(run("info", "--json", cwd=place).stdout)
    assert described["labels"] == {"argyle": 1, "dots": 4, "gingham": 4, "herringbone": 4, "lines": 2}
    assert described["stale"] == []
    assert run("doctor", cwd=place).stdout == "index is sound\n"


def test_export_and_import(place):
    """There and back again: the same answers, nothing encoded; an index is never written over."""
    run("export", "--output", "taken.npz", cwd=place)
    run("import", "taken.npz", "--output", "other", cwd=place)
    answers = [
        run("classify", "photo.png", "--index", name, "--format", "jsonl", "--config", OFFLINE, cwd=place).stdout
        for name in ("index", "taken.npz", "other")
    ]
    assert answers[0] == answers[1] == answers[2]
    assert "0 encoded" in run("sync", "corpus", "--index", "other", "--config", OFFLINE, cwd=place).stdout
    done = run("import", "taken.npz", "--output", "other", cwd=place, code=1)
    assert "holds an index already" in done.stderr
    assert "one of them is to be a .npz file" in run("export", "index", "--output", "x", cwd=place, code=1).stderr
    assert "lmm-classifier import" in run("sync", "--index", "taken.npz", cwd=place, code=1).stderr


def test_the_doctor_tells_and_mends(place):
    """Damage is exit code 1, a note 3; mended is 0."""
    file = next((place / "index" / "derived").glob("*.npy"))
    data = bytearray(file.read_bytes())
    data[300] ^= 1
    file.write_bytes(data)
    assert "note: " in run("doctor", cwd=place, code=3).stdout
    assert "mended: " in run("doctor", "--repair", cwd=place).stdout
    found = json.loads(run("doctor", "index", "--json", cwd=place).stdout)
    assert found == []
    (place / "index" / "index.sqlite").write_bytes(b"\0" * 40_000)
    assert "damage: " in run("doctor", cwd=place, code=1).stdout
    assert "there is no index" in run("doctor", "nowhere", cwd=place, code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["remove"], "nothing is named"),
        (["relabel", "--to", "x", "--label", "nix"], "no example has the label 'nix'"),
        (["sync", "nowhere"], "does not exist"),
        (["add", "empty", "--label", "x"], "no picture file"),
        (["add", "photo.png", "--label", ""], "is no label"),
        (["add", "photo.png", "--label", "x", "--index", "corpus"], "not a durable index"),
        (["add", "photo.png", "--label", "x", "--set", "encoder.backend=onnx"], "set encoder.backend to 'descriptor'"),
        (["build", "corpus", "--output", "corpus"], "exists and is not an index"),
    ],
)
def test_wrong_wishes_are_one_line(place, arguments, said):
    """What was expected and what to do, and no traceback."""
    (place / "empty").mkdir()
    done = run(*arguments, "--config", OFFLINE, cwd=place, code=1)
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_interrupted_by_hand(place):
    """Ctrl-C tells that nothing is lost, and the next run goes on: what was committed is not encoded again."""
    for label in ("argyle", "ogee", "chevron"):
        (place / "corpus" / label).mkdir()
        for number in range(40):
            draw(label, np.random.default_rng(number), 48).save(place / "corpus" / label / f"{number}.png")
    command = [COMMAND, "sync", "--batch-size", "1", "--config", OFFLINE]
    with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True) as going:
        deadline = time.monotonic() + 30
        while committed(place / "index") < 60 and time.monotonic() < deadline:
            time.sleep(0.02)
        going.send_signal(signal.SIGINT)
        said = going.stderr.read()
    assert going.returncode == 130
    assert "run the same again, and it goes on" in said
    done = run("sync", "--config", OFFLINE, cwd=place)
    assert "120 added" in done.stdout
    encoded = int(done.stdout.split(" encoded")[0].rsplit(" ", 1)[1])
    assert encoded <= 76


def committed(index):
    """How many vectors are in the database."""
    with closing(sqlite3.connect(index / "index.sqlite")) as connection:
        return connection.execute("SELECT count(*) FROM vectors").fetchone()[0]
