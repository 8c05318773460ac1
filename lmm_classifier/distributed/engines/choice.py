"""Choose the engine by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from lmm_classifier.core.concurrency import cpu_count
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.protocols import Engine
from lmm_classifier.distributed.engines.local import Processes

EngineName = Literal["processes", "ray"]


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine, how many workers it has, and what they get. `address` and `actor_gpus` are for Ray only."""

    name: str = "processes"
    actors: int = 0  # 0: as many as the engine finds right
    address: str | None = None
    actor_gpus: float = 0.0
    work: str | None = None  # where the workers of `classify` put results; None: a temporary folder of this machine

    def open(self) -> Engine:
        """Return the engine; raise ConfigError for a choice that it cannot follow, and MissingExtraError without ray.

        Example:
            >>> from lmm_classifier.distributed.engines.choice import EngineChoice
            >>> EngineChoice("processes", actors=3).open()
            Processes(workers=3)
        """
        if self.name == "ray":
            from lmm_classifier.distributed.engines.ray_engine import RayEngine, require_ray

            require_ray()
            return RayEngine(self.address, self.actors, self.actor_gpus)
        if self.name not in get_args(EngineName):
            raise ConfigError(f"{self.name!r} is no engine. Expected {' or '.join(get_args(EngineName))}.")
        if self.address is not None or self.actor_gpus:
            raise ConfigError(
                "An address and GPUs of actors are for the engine ray. The processes run on this machine."
            )
        return Processes(self.actors or 1)

    def threads(self) -> int:
        """Return how many threads each worker should have where all are on this machine; 0: one per processor."""
        return 0 if self.address is not None else max(cpu_count() // max(self.actors, 1), 1)
