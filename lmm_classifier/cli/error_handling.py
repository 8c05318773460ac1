"""The door for people: errors become one clear line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def door(debug: bool) -> Iterator[None]:
    """Turn errors into one clear line and an exit code."""
    from lmm_classifier.core.errors import LmmClassifierError

    try:
        yield
    except (LmmClassifierError, OSError) as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):  # the reader of our output has left: nothing to say, nobody to say it to
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        from lmm_classifier.cli.console import complain

        complain(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        if debug:
            raise
        raise typer.Exit(130) from None
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            raise
        from lmm_classifier.cli.console import complain

        complain(f"unexpected {type(error).__name__}: {error} (run again with --debug for the traceback)")
        raise typer.Exit(1) from None
