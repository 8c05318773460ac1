"""Run tasks by Ray Data, on this machine or on a cluster. No other file imports ray.

Ray tries a task again where its worker or its machine is lost. So a task runs at least once, and may run twice at the
same time: also after the program that started it was killed. Only names come back, never vectors.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from lmm_classifier.core.concurrency import cpu_count
from lmm_classifier.core.errors import ConfigError, EngineError, LmmClassifierError
from lmm_classifier.core.optional_imports import import_optional, require_optional
from lmm_classifier.core.protocols import Outcome, Task
from lmm_classifier.core.redaction import quote_foreign

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_worker_niceness": "0",  # 15 by default: on a machine that does anything else the workers then starve
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that outlives a run must not start another Ray
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # its own messages; what concerns a user is raised
}
_MOST_RESTARTS = 100  # of an actor, and of a task. A chunk is split long before
_MOST_BLOCKS = 20_000  # Ray counts blocks, and each costs the driver memory
_IN_FLIGHT = 2  # tasks that wait at an actor, so that it is never idle
_SECONDS = 10.0  # in which a cluster must answer
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_STORE = 200 << 20  # bytes of shared memory of a Ray of this machine: names are small


def require_ray() -> None:
    """Raise MissingExtraError where ray is not installed; do not import it."""
    require_optional("ray", "ray")


@dataclass(frozen=True)
class RayEngine:
    """Runs the tasks by an actor pool of Ray Data.

    Args:
        address: of a cluster, such as `auto` or `HOST:PORT`; None: a Ray of this machine that ends with the run.
        actors: workers; 0: one per GPU that is asked for, else one per machine.
        actor_gpus: GPUs of each, 0 for none; a fraction lets several share one.
        memory: bytes of the object store of a Ray of this machine.

    Example:
        >>> from lmm_classifier.distributed.engines.ray_engine import RayEngine
        >>> RayEngine(address="auto", actors=64, actor_gpus=1).actors
        64
    """

    address: str | None = None
    actors: int = 0
    actor_gpus: float = 0.0
    memory: int = _STORE

    def __post_init__(self) -> None:
        if self.actors < 0 or self.actor_gpus < 0:
            raise ConfigError(f"{self.actors} actors with {self.actor_gpus} GPUs each: expected 0 or more of both.")

    def run(self, tasks: Iterable[Task], build: Callable[[], Callable[[Task], Outcome]]) -> Iterator[Outcome]:
        """Yield the outcomes as they come.

        Raises:
            EngineError: Ray cannot be started, the cluster cannot be reached, or it lost too many workers.
            MissingExtraError: ray is not installed.
        """
        items = [{"task": task} for task in tasks]
        if not items:
            return
        with self._session() as ray, _translated():
            with _without_warnings():
                data = import_optional("ray.data", "ray")
                pool = self._pool(ray, min(self._wanted(ray), len(items)))
                rows = data.from_items(items, override_num_blocks=min(len(items), _MOST_BLOCKS))
                made = (build, str(Path.cwd()))
                outcomes = rows.map(_Actor, fn_constructor_args=made, ray_remote_args_fn=_retries, **pool)
                results = iter(outcomes.iter_rows())
            with _ended(results):
                while (row := _next(results)) is not None:
                    if (error := row["error"]) is not None:
                        raise error
                    yield row["outcome"]

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """Connect to the cluster, or start a Ray of this machine; one that the caller started is used as it is."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        ray = import_optional("ray", "ray")
        is_own = not ray.is_initialized()
        if is_own:
            own: dict[str, Any] = {"address": self.address}
            if self.address is None:
                own |= {"num_cpus": cpu_count(), "include_dashboard": False, "object_store_memory": self.memory}
                own["address"] = "local"
            else:
                _require_reachable(self.address)
            with _translated(), _without_warnings():
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **own)
        try:
            with _without_warnings():
                _quiet(import_optional("ray.data", "ray"))
            yield ray
        finally:
            if is_own:
                ray.shutdown()

    def _wanted(self, ray: Any) -> int:
        if self.actors:
            return self.actors
        resources = ray.cluster_resources()
        if self.actor_gpus:
            return max(int(resources.get("GPU", 0) / self.actor_gpus), 1)
        return max(sum(bool(node["Alive"]) for node in ray.nodes()), 1)

    def _pool(self, ray: Any, actors: int) -> dict[str, Any]:
        """Return what Ray is asked for: actors take at most half of the CPU tokens, the rest is for Ray's own tasks.

        With less than that Ray waits for ever and says nothing.
        """
        resources = ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        if self.actor_gpus * actors > gpus:
            raise EngineError(
                f"{actors} actors with {self.actor_gpus:g} GPUs each were asked for, and the cluster has {gpus:g}. "
                "Ask for fewer actors, or for a fraction of a GPU."
            )
        if not cpus:
            raise EngineError("The cluster has no processor for Ray to use. Start its nodes with processors.")
        compute = import_optional("ray.data", "ray").ActorPoolStrategy(
            size=actors, max_tasks_in_flight_per_actor=_IN_FLIGHT
        )
        each = min(1.0, int(cpus / (2 * actors) * 10_000) / 10_000)  # Ray counts ten-thousandths
        return {"compute": compute, "num_cpus": each, "num_gpus": self.actor_gpus or None}


def _retries() -> dict[str, int]:
    return {"max_restarts": _MOST_RESTARTS, "max_task_retries": _MOST_RESTARTS}


@contextmanager
def _ended(rows: Any) -> Iterator[None]:
    """End the threads of Ray Data before Ray itself, also after an error or where no more results are wanted."""
    try:
        yield
    finally:
        if (close := getattr(rows, "close", None)) is not None:
            close()


def _next(rows: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    with _without_warnings():  # around each, since a generator gives control back to its caller
        return next(rows, None)


class _Actor(Generic[Task, Outcome]):
    """A worker in a process of Ray; relative paths start where they do for the caller, if that folder is there."""

    def __init__(self, build: Callable[[], Callable[[Task], Outcome]], folder: str) -> None:
        with suppress(OSError):
            os.chdir(folder)
        self._work = build()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        # an error is a value here: Ray would send its text, inside that of its own
        try:
            return {"outcome": self._work(row["task"]), "error": None}
        except LmmClassifierError as error:
            return {"outcome": None, "error": error}
        except Exception as error:  # noqa: BLE001 - the caller raises it
            text = f"A worker failed with {type(error).__name__}: {quote_foreign(str(error))}."
            return {
                "outcome": None,
                "error": EngineError(f"{text} What is finished stays: run the same command again."),
            }


def _quiet(data: Any) -> None:
    """Let Ray Data write no bars, and give up where nothing moves for half an hour, which is its default."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn errors of Ray into one of this package; an error of a worker is raised as it is."""
    try:
        yield
    except (LmmClassifierError, KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            inner = getattr(cause, "cause", None) or cause.__cause__
            if isinstance(inner, LmmClassifierError):
                raise inner from error
            cause = inner
        raise EngineError(f"Ray: {_innermost(error)}. What is finished stays: run the same command again.") from error


def _innermost(error: BaseException) -> str:
    """Return the text of the error that began it: those around it have colors and the name of a process."""
    while (inner := getattr(error, "cause", None) or error.__cause__) is not None:
        error = inner
    lines = [line.strip() for line in _COLORS.sub("", str(error)).splitlines() if line.strip()]
    is_traceback = any(line.startswith("Traceback") for line in lines)
    return quote_foreign(lines[-1] if is_traceback else " ".join(lines)) or type(error).__name__


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Ignore what Ray warns about in its own code, and that lance cannot be forked: Ray starts programs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "lance is not fork-safe")
        yield


def _require_reachable(address: str) -> None:
    """Raise EngineError where nothing answers at an address: Ray would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon:
        return  # such as `auto`, for which Ray looks on this machine
    if not port.isdigit():
        raise ConfigError(f"{address!r} is no address of a cluster. Expected auto, or HOST:PORT.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"No cluster answers at {address}: {error}. Start one with `ray start --head`, or give no address to use "
            "one of this machine."
        ) from None
