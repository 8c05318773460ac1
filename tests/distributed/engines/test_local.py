"""Engines run each task, whatever happens to workers. They share one contract."""

import functools
import os
import time
from pathlib import Path

import pytest

from lmm_classifier.core.errors import ConfigError, EngineError
from lmm_classifier.distributed.engines.local import FewHere, InProcess, Processes


def build_square(folder=None):
    """Return what squares numbers, and ends its process the first time that it sees 3."""

    def work(number):
        if folder is not None and number == 3:
            marker = Path(folder) / "ended"
            if not marker.exists():
                marker.touch()
                os._exit(1)
        return number * number

    return work


def build_end():
    """Return what ends its process."""
    return lambda _: os._exit(1)


def build_error():
    """Return what raises an error of the package."""

    def work(_):
        raise ConfigError("this is wrong")

    return work


def build_pid():
    """Return what tells its process, and waits so that another one gets a task too."""

    def work(_):
        time.sleep(0.01)
        return os.getpid()

    return work


@pytest.mark.parametrize("engine", [InProcess(), Processes(2)])
def test_each_task_has_an_outcome(engine):
    """In any order; no task, no outcome and no worker."""
    assert sorted(engine.run(range(7), build_square)) == [0, 1, 4, 9, 16, 25, 36]
    assert list(engine.run([], build_end)) == []


def test_tasks_are_taken_as_they_are_needed():
    """A stream of tasks does not become a list."""
    taken = []

    def tasks():
        for number in range(50):
            taken.append(number)
            yield number

    outcomes = Processes(1).run(tasks(), build_square)
    next(outcomes)
    assert len(taken) <= 3
    outcomes.close()


def test_a_task_whose_worker_ends_is_done_by_another(tmp_path):
    """No outcome is lost or there twice."""
    outcomes = list(Processes(2).run(range(6), functools.partial(build_square, tmp_path)))
    assert sorted(outcomes) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "ended").exists()


@pytest.mark.long
def test_workers_that_end_again_and_again_end_the_run(monkeypatch):
    """With what to do."""
    monkeypatch.setattr("lmm_classifier.distributed.engines.local._MOST_DEATHS", 2)
    with pytest.raises(EngineError, match="2 workers ended one after the other"):
        list(Processes(1).run([1], build_end))


@pytest.mark.parametrize("engine", [InProcess(), Processes(1)])
def test_an_error_of_a_worker_is_raised(engine):
    """As it is."""
    with pytest.raises(ConfigError, match="this is wrong"):
        list(engine.run([1], build_error))


def test_processes_are_others_than_this_one():
    """And none is left."""
    pids = set(Processes(1).run(range(2), build_pid))
    assert len(pids) == 1
    assert os.getpid() not in pids
    with pytest.raises(ProcessLookupError):
        os.kill(pids.pop(), 0)


@pytest.mark.parametrize(("tasks", "elsewhere"), [(0, False), (3, False), (4, True)])
def test_few_tasks_are_done_in_this_process(tasks, elsewhere):
    """More of them by the engine, each once."""

    class Elsewhere(InProcess):
        used = False

        def run(self, tasks, build):
            Elsewhere.used = True
            return super().run(tasks, build)

    found = list(FewHere(Elsewhere(), few=3).run(iter(range(tasks)), lambda: lambda task: 2 * task))
    assert found == [2 * task for task in range(tasks)]
    assert Elsewhere.used == elsewhere
