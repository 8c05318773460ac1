"""The process in which pictures of fragile formats are decoded; see `decoder_pool`."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import IO

MEMORY = 3 << 30  # bytes of address space: a picture of 64 million pixels, in some copies
_TICK = 3600  # seconds of computing for the whole life of a process: one that is forgotten ends


def main() -> None:
    """Answer one question after the other until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints does not get between the answers
    _limit()
    from lmm_classifier.core.errors import ImageError
    from lmm_classifier.data.images import ImageLimits, decode_here

    for line in sys.stdin.buffer:
        question = json.loads(line)
        data = sys.stdin.buffer.read(question["bytes"])
        limits = ImageLimits(question["max_pixels"], len(data))
        try:
            image = decode_here(data, limits, question["min_side"])
        except ImageError as error:
            _answer(answers, {"kind": error.kind, "reason": str(error)}, b"")
        else:
            _answer(answers, {"width": image.width, "height": image.height}, image.tobytes())


def _answer(answers: IO[bytes], head: dict[str, object], pixels: bytes) -> None:
    answers.write(json.dumps(head).encode("ascii") + b"\n")
    answers.write(pixels)
    answers.flush()


def _limit() -> None:
    """Set limits of memory and computing, where the system has them."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, _TICK), (resource.RLIMIT_CORE, 0)):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
