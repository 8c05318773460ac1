"""The command `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import IndexOption

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def serve(
    index: IndexOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at. [default: server.host, 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen at; 0 chooses a free one. [default: server.port, 8321]")
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name of the server; may be repeated.")
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="A folder, archive or table whose images a browser may let classify; may be repeated.",
        ),
    ] = None,
    *,
    config: PipelineConfig,
) -> None:
    """Answer HTTP requests: classify images, and change the index.

    Other machines reach the server only with a token, which the environment variable LMM_CLASSIFIER_TOKEN holds.
    SIGTERM and Ctrl-C end the server after the requests under way.
    """
    from lmm_classifier.cli.quiet import write_note
    from lmm_classifier.core.optional_imports import require_optional

    for module in ("fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client"):
        require_optional(module, "server")
    from lmm_classifier.server.run import serve as run

    settings = config.server
    if index is not None:
        config.retrieval.index_path = index
    if host is not None:
        settings.host = host
    if port is not None:
        settings.port = port
    if allowed_host:
        settings.allowed_hosts = allowed_host
    for given in root or ():
        name, separator, path = given.partition("=")
        if not (separator and name and path):
            raise typer.BadParameter(f"--root takes NAME=PATH, such as --root inbox=/data/new, got {given!r}.")
        settings.roots = {**settings.roots, name: Path(path)}
    run(config, on_start=lambda url: write_note(f"Listening at {url}; its addresses are described at {url}/docs"))
    write_note("The server ended.")
