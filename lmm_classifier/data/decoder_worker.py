"""The process that decodes images of fragile formats; see `decoder_pool`."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import IO

MEMORY = 3 << 30  # bytes of address space: room for several copies of an image of 64 million pixels
_CPU_SECONDS = 3600  # of computing in the whole life of a process, so that a forgotten process ends


def main() -> None:
    """Answer requests from standard input one by one until it ends."""
    responses = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # output of a library must not mix with the responses
    _set_limits()
    from lmm_classifier.core.errors import ImageError
    from lmm_classifier.data.images import ImageLimits, decode_in_process

    for line in sys.stdin.buffer:
        request = json.loads(line)
        data = sys.stdin.buffer.read(request["bytes"])
        limits = ImageLimits(request["max_pixels"], len(data))
        try:
            image = decode_in_process(data, limits, request["min_side"])
        except ImageError as error:
            _respond(responses, {"kind": error.kind, "reason": str(error)}, b"")
        else:
            _respond(responses, {"width": image.width, "height": image.height}, image.tobytes())


def _respond(responses: IO[bytes], head: dict[str, object], pixels: bytes) -> None:
    responses.write(json.dumps(head).encode("ascii") + b"\n")
    responses.write(pixels)
    responses.flush()


def _set_limits() -> None:
    """Limit memory and computing time, where the system allows it."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        for kind, limit in (
            (resource.RLIMIT_AS, MEMORY),
            (resource.RLIMIT_CPU, _CPU_SECONDS),
            (resource.RLIMIT_CORE, 0),
        ):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    main()
