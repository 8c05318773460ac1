"""Whether a process works on a run is told by a lock, which no process leaves behind when it is killed."""

import signal
import subprocess
import sys

import pytest

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.review import active_runs
from lmm_classifier.review.active_runs import ActiveRuns
from lmm_classifier.review.storage.records import Run

HOLDER = """
import sys
from pathlib import Path
from lmm_classifier.review.active_runs import ActiveRuns
runs = ActiveRuns(Path(sys.argv[1]))
runs.begin(7)
print("held", flush=True)
sys.stdin.read()
"""


def run_over(kind, state, number=7):
    return Run(number, {"kind": kind}, "2026-01-01T00:00:00+00:00", state, None)


def test_a_killed_process_works_on_nothing(tmp_path, monkeypatch):
    """Its run is interrupted, and another process can go on with it."""
    monkeypatch.setattr(active_runs, "_PATIENCE", 0.1)
    runs, run = ActiveRuns(tmp_path), run_over("folder", "running")
    assert runs.state_of(run) == "interrupted"
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert [runs.state_of(run), runs.state_of(run)] == ["running", "running"]
        assert not runs.is_active(8)
        with pytest.raises(ReviewError, match="Another program classifies the images of run 7"):
            runs.begin(7)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert runs.state_of(run) == "interrupted"
    with runs.working(7):
        assert runs.state_of(run) == "running"


def test_work_begun_twice_ends_twice(tmp_path):
    """A server that lets a run wait holds it before the run begins."""
    runs, other = ActiveRuns(tmp_path), ActiveRuns(tmp_path)
    with runs.working(1):
        with runs.working(1):
            assert other.is_active(1)
        assert runs.is_active(1)
        assert other.is_active(1)
    assert not runs.is_active(1)
    assert not other.is_active(1)


@pytest.mark.parametrize("state", ["done", "cancelled", "failed"])
def test_what_has_ended_is_as_it_is_stored(tmp_path, state):
    """And a run for uploads waits for more, whoever serves it."""
    assert ActiveRuns(tmp_path).state_of(run_over("folder", state)) == state
    assert ActiveRuns(tmp_path).state_of(run_over("upload", "running")) == "receiving"
