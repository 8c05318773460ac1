"""Several programs that use one index, small disks, read-only folders and leftover files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.index.doctor import check_index

_ROOT = Path(__file__).parents[2]
_READERS = 4
_KILOBYTES = (64, 128, 256, 384, 512, 640, 768, 1024, 2048, 4096, 8192)


def writers(rounds: int) -> Outcome:
    """Let two programs sync one index to the same dataset at once, while readers open it all the time."""
    outcome = Outcome("two writers, four readers")
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            index = _build(folder)
            allowed = jobs.versions_of("sync", folder, index)
            errors: list[str] = []
            done = threading.Event()
            readers = [threading.Thread(target=_read, args=(index, allowed, errors, done)) for _ in range(_READERS)]
            for thread in readers:
                thread.start()
            failures = _sync_twice(folder, index)
            done.set()
            for thread in readers:
                thread.join()
            errors += failures
            if not errors and jobs.state_of(index) != allowed[-1]:
                errors.append("the final state is wrong")
            outcome.add(f"round {number}: {errors[0]}" if errors else jobs.damage(index))
    return outcome


def _build(folder: Path) -> Path:
    """Draw the datasets, and build an index of the first."""
    jobs.draw_datasets(folder)
    jobs.build(folder, folder / "index")
    return folder / "index"


def _sync_twice(folder: Path, index: Path) -> list[str]:
    """Sync in two processes at once, and return the error output of those that failed."""
    code = (
        "from pathlib import Path; from benchmarks.fault_injection import jobs; "
        f"jobs.sync(Path({str(folder)!r}), Path({str(index)!r}))"
    )
    env = {**os.environ, "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[1] for process in processes]
    return [output[-200:] for process, output in zip(processes, outputs) if process.returncode]


def _read(index: Path, allowed: Sequence[jobs.State], errors: list[str], done: threading.Event) -> None:
    while not done.is_set():
        try:
            if jobs.state_of(index) not in allowed:
                errors.append("a reader saw half a change")
        except Exception as error:  # noqa: BLE001 - any error is a loss
            errors.append(f"{type(error).__name__}: {error}")


def small_disk() -> Outcome:
    """Build on a disk of a few hundred kilobytes, which grows until the build succeeds."""
    outcome = Outcome("a disk that is too small")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        jobs.draw_datasets(folder)
        disk = folder / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
        )
        if mounted.returncode:
            outcome.skipped = "only root can mount a small disk"
            return outcome
        try:
            _grow(folder, disk, outcome)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return outcome


def _grow(folder: Path, disk: Path, outcome: Outcome) -> None:
    index = disk / "index"
    for kilobytes in _KILOBYTES:
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)
        before = jobs.encoded_contents(index)
        try:
            jobs.build(folder, index)
        except (LmmClassifierError, OSError) as error:
            is_clear = any(word in str(error).lower() for word in ("full", "space", "i/o", "cannot", "disk"))
            outcome.add(None if is_clear else f"{kilobytes} kB: {type(error).__name__}: {error}")
            if before - jobs.encoded_contents(index):
                outcome.add(f"{kilobytes} kB: committed images are missing")
            continue
        is_complete = len(jobs.state_of(index)) == 16 and jobs.damage(index) is None
        outcome.add(None if is_complete else f"{kilobytes} kB: the index is incomplete or damaged")
        outcome.notes.append(f"succeeded at {kilobytes} kB, in try {outcome.tried}")
        return
    outcome.add("the build never succeeded")


def read_only() -> Outcome:
    """Read a folder that cannot be written as another user, with and without derived files; it must not change."""
    outcome = Outcome("read-only folder")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        index = _build(folder)
        for with_derived_files in (True, False):
            if not with_derived_files:
                for path in (index, index / "derived"):
                    path.chmod(0o755)
                shutil.rmtree(index / "derived")
            before = _file_contents(index)
            for path in (index, *index.rglob("*")):
                path.chmod(0o555 if path.is_dir() else 0o444)
            env = {**os.environ, "PYTHONPATH": str(_ROOT)}
            command = [sys.executable, "-c", AS_NOBODY, str(index)]
            process = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            is_read = process.stdout.splitlines()[:2] == ["16", "refused"]
            is_same = _file_contents(index) == before
            outcome.add(None if is_same and is_read else f"{process.stdout[-200:]} {process.stderr[-300:]}")
        for path in (index, *index.rglob("*")):
            path.chmod(0o755)
    return outcome


def _file_contents(index: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in index.rglob("*") if path.is_file()}


AS_NOBODY = """
import mmap, os, sys
from pathlib import Path
from lmm_classifier.index.doctor import check_index
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.vector_index import Index
from lmm_classifier.index.storage.store import Store
if os.geteuid() == 0:  # permissions do not apply to root
    os.setuid(65534)
index = Index.open(Path(sys.argv[1]))
print(len(index.gallery.embeddings))
try:
    Store(Path(sys.argv[1]))
except IndexFileError as error:
    print("refused" if "cannot be changed" in str(error) else error)
"""


def leftovers() -> Outcome:
    """Check that files which a crash left behind do not stop an index, and are removed."""
    outcome = Outcome("leftover temporary files")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        index = _build(folder)
        expected = jobs.state_of(index)
        files = [
            index / "derived" / ".abc.tmp",
            index / "derived" / "0.npy",
            index / "derived" / "0.table",
            index / "derived" / "9.table",
            index / "added" / ".lmm-classifier-x.tmp",
            index / "added" / "0123456789abcdef-image.png",
            index / "index.sqlite-journal",
            index / "writer.lock",
            index / ".salvage-x" / "index.sqlite",
        ]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"left behind")
            outcome.add(_use_with_leftover(folder, index, expected, file.name))
        check_index(index, repair=True)
        may_stay = ("writer.lock", "9.table", "index.sqlite-journal")
        remaining = [file.name for file in files if file.name not in may_stay and file.exists()]
        outcome.add(f"{remaining} were not removed" if remaining else None)
    return outcome


def _use_with_leftover(folder: Path, index: Path, expected: jobs.State, name: str) -> str | None:
    """Read, sync and build the index, and return the problem (None if there is none)."""
    try:
        is_same = jobs.state_of(index) == expected
        jobs.sync(folder, index)
        jobs.build(folder, index)
        is_same = is_same and jobs.state_of(index) == expected
        return None if is_same else f"{name}: a different index"
    except Exception as error:  # noqa: BLE001 - any error is a loss
        return f"{name}: {type(error).__name__}: {error}"
