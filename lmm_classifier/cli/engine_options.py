"""Options that say which engine runs the workers of a command, and how many."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from lmm_classifier.distributed.engines.choice import EngineChoice

EngineOption = Annotated[
    Literal["local", "processes", "ray"],
    typer.Option(
        help="Who encodes: this process (local), several of this machine (processes), or workers of a cluster (ray)."
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT", help="ray: the cluster. [default: one of this machine, which ends with the command]"
    ),
]
ActorsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Workers of an engine. [default: processes 1; ray one per GPU, or per machine]"),
]
ActorGpusOption = Annotated[float, typer.Option(min=0, help="ray: GPUs of each worker; 0.5 lets two share one.")]
WorkOption = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|URL",
        help="Where workers of an engine put results until they are taken; the same command resumes from there. "
        "[default: a temporary folder of this machine]",
    ),
]
ChunkImagesOption = Annotated[
    int | None,
    typer.Option(min=1, max=4096, help="Images that a worker stores at a time, at most. [default: 4096]"),
]


def chosen_engine(
    engine: str, address: str | None, actors: int | None, actor_gpus: float, chunk_images: int | None = None
) -> EngineChoice | None:
    """Return the engine that options choose, None for this process; refuse options that it does not have."""
    if engine == "local":
        given = {"--address": address, "--actors": actors, "--actor-gpus": actor_gpus, "--chunk-images": chunk_images}
        if wrong := [name for name, value in given.items() if value]:
            raise typer.BadParameter(f"{wrong[0]} is for an engine with workers. Add --engine ray.")
        return None
    if engine != "ray" and (address or actor_gpus):
        raise typer.BadParameter("--address and --actor-gpus are for --engine ray.")
    from lmm_classifier.distributed.engines.choice import EngineChoice

    return EngineChoice(engine, actors or 0, address, actor_gpus)


def with_work(engine: EngineChoice | None, work: str | None) -> EngineChoice | None:
    """Add where workers put results; refuse it where there are no workers, and a cluster without it."""
    if engine is None:
        if work is not None:
            raise typer.BadParameter("--work is for an engine with workers. Add --engine processes, or --engine ray.")
        return None
    if engine.address is not None and work is None:
        raise typer.BadParameter("--address needs --work: a folder or a URL that all machines of the cluster reach.")
    return replace(engine, work=work)
