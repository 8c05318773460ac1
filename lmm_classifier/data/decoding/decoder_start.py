"""How a decoder process is started: nothing of the current folder is imported, and no secret is passed on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

PROGRAM = "from lmm_classifier.data.decoding.decoder_worker import main; main()"
_PACKAGE = Path(__file__).absolute().parent.parent.parent
# -I ignores the variables of Python and the current folder. The import path is that of this program without the current
# folder, and the package is loaded from its own place, so that both processes run the same code.
_START = """
import importlib.util, json, sys
path, package = json.loads(sys.argv[1])
sys.path[:] = path
name, folders = "lmm_classifier", [package]
spec = importlib.util.spec_from_file_location(name, package + "/__init__.py", submodule_search_locations=folders)
sys.modules[name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH", "LD_PRELOAD")


def _current_folder() -> str | None:
    with suppress(OSError):  # it may have been deleted
        return os.path.realpath(Path.cwd())
    return None


_FIRST_FOLDER = _current_folder()


def import_path() -> list[str]:
    """Return the import path of this program without the current folder, unless PYTHONPATH names it in full."""
    named = {entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(entry).is_absolute()}
    current = {_FIRST_FOLDER, _current_folder()}
    absolute = [entry for entry in sys.path if Path(entry).is_absolute()]
    return [entry for entry in absolute if entry in named or os.path.realpath(entry) not in current]


def start_decoder(program: str = PROGRAM) -> subprocess.Popen[bytes]:
    """Start a process that runs `program` with this package; requests and responses go through its pipes.

    Raises:
        OSError: the system cannot start a process now.
    """
    paths = json.dumps([import_path(), str(_PACKAGE)])
    command = [sys.executable, "-I", "-c", _START + program, paths]
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env |= {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=env, cwd=_PACKAGE.anchor)
