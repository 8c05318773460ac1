"""The process that decodes images; see `decoder_pool`. Each image has its own limits of time and memory."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from PIL.Image import Image

from lmm_classifier.data.decoding.strips import rows_of_strips

_DECODING = 0.75  # part of the time for decoding; the rest passes the pixels on


def main() -> None:
    """Answer requests from standard input one by one until it ends."""
    responses = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # output of a library must not mix with the responses
    _prepare()
    from lmm_classifier.core.errors import ImageError
    from lmm_classifier.data.decoding.decoding_memory import has_memory_limit, lacks_memory
    from lmm_classifier.data.images import decode_in_process
    from lmm_classifier.data.limits import ImageLimits, check_transfer, lacks_memory_error

    inherited = has_memory_limit()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        limits = ImageLimits.from_request(request, request["bytes"])
        data = sys.stdin.buffer.read(request["bytes"])
        try:
            with _limited(limits.max_seconds * _DECODING, max(limits.max_memory - 2 * len(data), 0)):
                image = decode_in_process(data, limits, request["min_side"])
            check_transfer(image.size, len(data), limits)
            del data  # the pixels will be in memory twice
        except ImageError as error:
            proven = error.proven and not inherited and not lacks_memory(request["memory"])
            _respond(responses, {"kind": error.kind, "reason": str(error), "proven": proven})
        except MemoryError:
            lacking = lacks_memory_error(limits)
            _respond(responses, {"kind": lacking.kind, "reason": str(lacking), "proven": False})
        else:
            _send(responses, image)
            image.close()


def _send(responses: IO[bytes], image: Image) -> None:
    """Send the size, then the pixels in strips, so that they are in memory only once."""
    width, height = image.size
    _respond(responses, {"width": width, "height": height})
    for rows in rows_of_strips(width, height):
        responses.write(image.crop((0, rows.start, width, rows.stop)).tobytes())
    responses.flush()


def _respond(responses: IO[bytes], head: dict[str, object]) -> None:
    responses.write(json.dumps(head).encode("ascii") + b"\n")
    responses.flush()


def _prepare() -> None:
    """Write no core file, load the decoders, and let each decode in one thread: many processes run at a time."""
    from PIL import AvifImagePlugin

    from lmm_classifier.data.images import accepted_formats

    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    if "HEIF" in accepted_formats():
        import pillow_heif

        pillow_heif.options.DECODE_THREADS = 1


@contextmanager
def _limited(seconds: float, memory: int) -> Iterator[None]:
    """End the process where one image takes more processor time; refuse it more memory than `memory` bytes.

    Does nothing where the system has no such limits.
    """
    try:
        import resource
        import signal
    except ImportError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [soft, hard, _address_space() + memory]
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the default ends the process, whatever a library computes
    signal.setitimer(signal.ITIMER_PROF, max(seconds, 1e-4))  # 0 is no limit
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (min(set(limits) - {resource.RLIM_INFINITY}), hard))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_PROF, 0)


def _address_space() -> int:
    """Return the bytes of address space that are in use."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return 1 << 40  # not known: no limit
    return pages * os.sysconf("SC_PAGE_SIZE")
