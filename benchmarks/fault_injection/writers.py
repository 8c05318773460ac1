"""Several programs at one index, and disks that are small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.core.errors import LmmClassifierError

_ROOT = Path(__file__).parents[2]


def writers(rounds: int) -> Outcome:
    """Two programs sync one index at once, to the same corpus, while readers open it all the time."""
    outcome = Outcome("two writers, four readers")
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            place = Path(name).resolve()
            jobs.draw_corpora(place)
            index = place / "index"
            jobs.build(place, index, lambda _: None)
            allowed = jobs.versions_of("sync", place, index, place)
            errors: list[str] = []
            done = threading.Event()
            readers = [threading.Thread(target=_read, args=(index, allowed, errors, done)) for _ in range(4)]
            for thread in readers:
                thread.start()
            code = (
                "from benchmarks.fault_injection.jobs import *; "
                f"sync(Path({str(place)!r}), Path({str(index)!r}), lambda _: None)"
            )
            env = {**os.environ, "PYTHONPATH": str(_ROOT)}
            command = [sys.executable, "-c", code]
            pair = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
            said = [one.communicate()[1] for one in pair]
            done.set()
            for thread in readers:
                thread.join()
            errors += [text[-200:] for one, text in zip(pair, said) if one.returncode]
            if not errors and jobs.state(index) != allowed[-1]:
                errors.append("the end is another one")
            outcome.add(f"round {number}: {errors[0]}" if errors else jobs.damage(index))
    return outcome


def _read(index: Path, allowed: list[list[tuple[str, str, str]]], errors: list[str], done: threading.Event) -> None:
    while not done.is_set():
        try:
            if jobs.state(index) not in allowed:
                errors.append("a reader saw half a change")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what this looks for
            errors.append(f"{type(error).__name__}: {error}")


def small_disk() -> Outcome:
    """A build on a disk of a few hundred kilobytes, which grows until the build goes through."""
    outcome = Outcome("a disk that is too small")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        jobs.draw_corpora(place)
        disk = place / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
        )
        if mounted.returncode:
            outcome.skipped = "a small disk can be mounted by root only"
            return outcome
        try:
            _grow(place, disk, outcome)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return outcome


def _grow(place: Path, disk: Path, outcome: Outcome) -> None:
    encoded = 0
    for kilobytes in (64, 128, 256, 384, 512, 640, 768, 1024, 2048, 4096, 8192):
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)
        before = jobs.contents_encoded(disk / "index")
        try:
            encoded += jobs.build(place, disk / "index", lambda _: None)
        except (LmmClassifierError, OSError) as error:
            clear = any(word in str(error).lower() for word in ("full", "space", "i/o", "cannot", "disk"))
            outcome.add(None if clear else f"{kilobytes} kB: {type(error).__name__}: {error}")
            if before - jobs.contents_encoded(disk / "index"):
                outcome.add(f"{kilobytes} kB: what was committed is gone")
            continue
        fine = len(jobs.state(disk / "index")) == 16 and jobs.damage(disk / "index") is None
        outcome.add(None if fine else f"{kilobytes} kB: not as it should be")
        outcome.notes.append(f"went through at {kilobytes} kB, in {outcome.tried} tries")
        return
    outcome.add("never went through")


def read_only() -> Outcome:
    """A folder that cannot be written: read by another user, with and without derived files, and not changed."""
    outcome = Outcome("read-only folder")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        place.chmod(0o755)
        jobs.draw_corpora(place)
        index = place / "index"
        jobs.build(place, index, lambda _: None)
        for with_derived in (True, False):
            if not with_derived:
                for path in (index, index / "derived"):
                    path.chmod(0o755)
                shutil.rmtree(index / "derived")
            every = [index, *index.rglob("*")]
            before = {path.name: path.read_bytes() for path in every if path.is_file()}
            for path in every:
                path.chmod(0o555 if path.is_dir() else 0o444)
            env = {**os.environ, "PYTHONPATH": str(_ROOT)}
            done = subprocess.run(
                [sys.executable, "-c", AS_NOBODY, str(index)], env=env, capture_output=True, text=True, check=False
            )
            same = {path.name: path.read_bytes() for path in index.rglob("*") if path.is_file()} == before
            read = done.stdout.splitlines()[:2] == ["16", "refused"]
            outcome.add(None if same and read else f"{done.stdout[-200:]} {done.stderr[-300:]}")
        for path in (index, *index.rglob("*")):
            path.chmod(0o755)
    return outcome


AS_NOBODY = """
import mmap, os, sys
from pathlib import Path
from lmm_classifier.index.doctor import examine
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.index.storage.store import Store
if os.geteuid() == 0:  # permissions do not bind root
    os.setuid(65534)
index = ExactIndex.open(Path(sys.argv[1]))
print(len(index.gallery.units))
try:
    Store(Path(sys.argv[1]))
except IndexFileError as error:
    print("refused" if "cannot be changed" in str(error) else error)
"""


def leftovers() -> Outcome:
    """Files that a crash left behind do not stop an index, and are swept."""
    outcome = Outcome("left-over temporary files")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        jobs.draw_corpora(place)
        index = place / "index"
        jobs.build(place, index, lambda _: None)
        expected = jobs.state(index)
        left = [
            index / "derived" / ".abc.tmp",
            index / "derived" / "0.npy",
            index / "derived" / "0.table",
            index / "derived" / "9.table",
            index / "added" / ".lmm-classifier-x.tmp",
            index / "added" / "0123456789abcdef-picture.png",
            index / "index.sqlite-journal",
            index / "writer.lock",
            index / ".salvage-x" / "index.sqlite",
        ]
        for file in left:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"left behind")
            try:
                fine = jobs.state(index) == expected and jobs.sync(place, index, lambda _: None) >= 0
                jobs.build(place, index, lambda _: None)
                fine = fine and jobs.state(index) == expected
                outcome.add(None if fine else f"{file.name}: another answer")
            except Exception as error:  # noqa: BLE001
                outcome.add(f"{file.name}: {type(error).__name__}: {error}")
        from lmm_classifier.index.doctor import examine

        examine(index, repair=True)
        still = [file.name for file in left if file.name not in ("writer.lock", "9.table") and file.exists()]
        still = [one for one in still if one != "index.sqlite-journal"]
        outcome.add(f"{still} are still there" if still else None)
    return outcome
