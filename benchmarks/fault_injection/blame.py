"""End, limit and starve the decoders of a build: a healthy build afterwards must index every sound image."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.data.decoding.decoder_pool import POOL
from lmm_classifier.data.decoding.decoder_start import PROGRAM
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.storage.store import Store

_ROOT = Path(__file__).parents[2]
_KINDS = ("tif", "webp", "jpg", "png")
_IMAGES = 8  # per label, of two labels
# a program of a decoder process that does `event` before every image that it decodes, once in `chance` times
_PROGRAM = """
import errno, os, random, signal, time
from PIL import Image
from lmm_classifier.data.decoding import decoder_worker
real, rng = Image.open, random.Random(os.getpid())
def open_image(*arguments, **options):
    if rng.random() < 1 / {chance}:
        {event}
    return real(*arguments, **options)
Image.open = open_image
decoder_worker.main()
"""
_EVENTS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "crashed": "os.kill(os.getpid(), signal.SIGSEGV)",
    "limited": "os.kill(os.getpid(), signal.SIGPROF)",
    "out of memory": "raise MemoryError",
    "without file handles": "raise OSError(errno.EMFILE, 'Too many open files')",
}


def blame(tries: int) -> Outcome:
    """Build `tries` times with each fault, then once without: no sound image may be refused."""
    outcome = Outcome("blame")
    faults: dict[str, Callable[[Path, random.Random], None]] = {
        **{name: _with_program(event) for name, event in _EVENTS.items()},
        "memory limit": _under_a_limit,
        "killed from outside": _killed_from_outside,
    }
    logging.disable(logging.ERROR)
    try:
        for name, fault in faults.items():
            for number in range(tries):
                with tempfile.TemporaryDirectory() as folder:
                    place = Path(folder)
                    _draw(place / "dataset")
                    fault(place, random.Random(number))
                    outcome.add(_refused_afterwards(place, name))
    finally:
        logging.disable(logging.NOTSET)
    outcome.notes.append(f"{2 * _IMAGES} images of {len(_KINDS)} formats; faults: {', '.join(faults)}")
    return outcome


def _draw(root: Path) -> None:
    for number, label in enumerate(KNOWN[:2]):
        (root / label).mkdir(parents=True)
        for image in range(_IMAGES):
            name = f"{image}.{_KINDS[image % len(_KINDS)]}"
            draw(label, np.random.default_rng((number, image)), 32).convert("RGB").save(root / label / name)


def _build(place: Path) -> int:
    config = PipelineConfig.offline()
    config.images.threads = 2
    return build_index_from_directory(place / "dataset", place / "index", config=config).total


def _refused_afterwards(place: Path, fault: str) -> str | None:
    if (place / "index").exists():
        with Store(place / "index", wait=5) as store:
            refused = [file.path for file in store.known_files() if file.kind]
        if refused:
            return f"{fault}: {len(refused)} sound images are stored as refused"
    total = _build(place)
    return None if total == 2 * _IMAGES else f"{fault}: a healthy build indexed {total} of {2 * _IMAGES} images"


def _with_program(event: str) -> Callable[[Path, random.Random], None]:
    def fault(place: Path, rng: random.Random) -> None:
        POOL.close()
        POOL.program = _PROGRAM.format(chance=rng.choice((1, 2, 3)), event=event)
        try:
            _build(place)
        except LmmClassifierError:
            pass  # no image at all could be decoded
        finally:
            POOL.close()
            POOL.program = PROGRAM

    return fault


def _under_a_limit(place: Path, rng: random.Random) -> None:
    """Build in a process whose address space grows by a few megabytes only."""
    code = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from lmm_classifier.config import PipelineConfig
        from lmm_classifier.data.images import accepted_formats
        from lmm_classifier.embeddings.descriptor import DescriptorEncoder
        from lmm_classifier.index.build.builder import build_index_from_directory
        config = PipelineConfig.offline()
        config.images.threads = 1
        accepted_formats(), DescriptorEncoder()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]), resource.RLIM_INFINITY))
        build_index_from_directory(Path(sys.argv[1]), Path(sys.argv[2]), config=config)
        """
    )
    size = str(rng.choice((20, 30, 60, 120)) << 20)
    env = {**os.environ, "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-c", code, str(place / "dataset"), str(place / "index"), size]
    subprocess.run(command, capture_output=True, check=False, env=env)


def _killed_from_outside(place: Path, rng: random.Random) -> None:
    """Kill the children of this process again and again while it builds, as a system without memory does."""
    stopped = threading.Event()

    def kill() -> None:
        while not stopped.wait(0.02 + 0.1 * rng.random()):
            for worker in list(POOL._idle):
                worker.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        _build(place)
    except LmmClassifierError:
        pass
    finally:
        stopped.set()
        killer.join()
