"""Decode families of costly files, each in a fresh process, and compare what an accepted file costs with the limits."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path

from PIL import Image

from benchmarks.fault_injection.costly_files import FAMILIES, families
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.core.errors import ImageError
from lmm_classifier.data.decoding.decoder_pool import POOL
from lmm_classifier.data.images import decode
from lmm_classifier.data.limits import ImageLimits

MAX_SECONDS, MAX_MEGABYTES = 2.0, 600.0  # of processor time, and of memory: this process and its decoder together
_FAMILY_SIZES = ((16_000_000, 60_000), (63_000_000, 250_000))  # pixels, and repetitions of the repeated part
_INTERVAL = 0.004  # seconds between two looks at the memory


def decode_cost(fraction: float = 1.0) -> list[Outcome]:
    """Return one outcome per format: no accepted file costs more than the limits, and each refusal has a reason."""
    sizes = _FAMILY_SIZES if fraction >= 1 else ((400_000, 3_000),)
    return [_family(kind, sizes) for kind in families()]


def _family(kind: str, sizes: tuple[tuple[int, int], ...]) -> Outcome:
    outcome = Outcome(f"decode cost, {kind}")
    worst_seconds = worst_megabytes = (0.0, "")
    seconds_per_kb = megabytes_per_kb = 0.0
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        for pixels, repetitions in sizes:
            for name, data in FAMILIES[kind](pixels, repetitions).items():
                file = Path(folder) / "file"
                file.write_bytes(data)
                figures = _in_new_process(file)
                kilobytes = len(data) / 1e3
                outcome.add(_problem(name, figures))
                refused += bool(figures.get("refused"))
                if not figures.get("refused"):
                    about = f"{name}, {kilobytes:,.0f} kB"
                    seconds, megabytes = float(figures.get("seconds", 0)), float(figures.get("megabytes", 0))
                    worst_seconds = max(worst_seconds, (seconds, about))
                    worst_megabytes = max(worst_megabytes, (megabytes, about))
                    seconds_per_kb = max(seconds_per_kb, seconds / kilobytes)
                    megabytes_per_kb = max(megabytes_per_kb, megabytes / kilobytes)
    outcome.notes.append(
        f"accepted: at most {worst_seconds[0]:.2f} s ({worst_seconds[1]}), "
        f"{worst_megabytes[0]:.0f} MB ({worst_megabytes[1]}); "
        f"per kB of a file at most {1000 * seconds_per_kb:.2g} ms and {megabytes_per_kb:.2g} MB; {refused} refused"
    )
    return outcome


def _problem(name: str, figures: dict[str, float | str]) -> str | None:
    if "error" in figures:
        return f"{name}: {figures['error']}"
    if figures.get("refused"):
        return None
    for unit, limit in (("seconds", MAX_SECONDS), ("megabytes", MAX_MEGABYTES)):
        if float(figures[unit]) > limit:
            return f"{name}: {figures[unit]:.3g} {unit}, at most {limit:g}"
    return None


def _in_new_process(file: Path) -> dict[str, float | str]:
    command = [sys.executable, "-m", "benchmarks.fault_injection.decode_cost", str(file)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        return {"error": f"the process ended with {done.returncode}: {done.stderr[-300:]}"}
    figures: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return figures


class _Memory(threading.Thread):
    """Looks at the memory of some processes again and again; `peak` is how much they grew together, in MB."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self._pids, self._stopped, self.peak = pids, threading.Event(), 0.0
        self._before = self._now()

    def run(self) -> None:
        while not self._stopped.wait(_INTERVAL):
            self.peak = max(self.peak, self._now() - self._before)

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _now(self) -> float:
        total = 0
        for pid in self._pids:
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue  # it ended
        return total * resource.getpagesize() / 1e6


def _seconds_of(pid: int) -> float:
    """Return the processor time of another process; that of all ended ones where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime


def measure(data: bytes) -> dict[str, float | str]:
    """Decode a file at the default limits, and return what it cost: this process and its decoder together."""
    for kind in ("JPEG", "TIFF"):
        stream = BytesIO()
        Image.new("RGB", (9, 9)).save(stream, kind)
        decode(stream.getvalue())  # libraries are loaded, and a decoder process waits
    decoder = POOL._idle[0].pid
    memory = _Memory([os.getpid(), decoder])
    before, own = _seconds_of(decoder), time.thread_time()
    memory.start()
    refused = ""
    try:
        decode(data, ImageLimits())
    except ImageError as error:
        refused = str(error) or "no reason"
    own = time.thread_time() - own
    memory.stop()
    return {"seconds": own + _seconds_of(decoder) - before, "megabytes": memory.peak, "refused": refused}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]).read_bytes())))
