"""Use the wheel as a person does who has only pip: an empty folder, the extra `lite`, and no network afterwards.

`python -m scripts.try_wheel` builds the wheel, installs `lmm-classifier[lite]` from it into an empty environment, and
runs the first commands of the README outside of the checkout. Every attempt to connect to another machine ends the
command, and so does a home folder that is needed. torch must not be importable.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from lmm_classifier.data.synthetic.catalog import draw

ROOT = Path(__file__).parent.parent
_LABELS = ("stripes", "polka_dots", "gingham", "tartan")
_GUARD = """\
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"the program used the network: {event} {arguments}")

sys.addaudithook(refuse)
"""


def main() -> None:
    """Do all of it; a failure ends the program with the output of the command."""
    with tempfile.TemporaryDirectory(prefix="lmm-wheel-") as temporary:
        folder = Path(temporary)
        _run([sys.executable, "-m", "build", "--wheel", "--outdir", folder / "dist", ROOT], ROOT)
        (wheel,) = (folder / "dist").glob("*.whl")
        _run([sys.executable, "-m", "venv", folder / "venv"], folder)
        python = folder / "venv/bin/python"
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--constraint", ROOT / "constraints.txt", f"lmm-classifier[lite] @ {wheel.as_uri()}"], folder)
        (packages,) = (folder / "venv/lib").glob("python*/site-packages")
        (packages / "sitecustomize.py").write_text(_GUARD, encoding="utf-8")
        work = folder / "work"
        draw_images(work)
        use(folder / "venv/bin", work)
    print("the wheel works alone")


def draw_images(work: Path) -> None:
    """Draw labeled images into `images/`, and new ones into `new/`, named after their label."""
    rng = np.random.default_rng(0)
    (work / "new").mkdir(parents=True)
    for label in _LABELS:
        (work / "images" / label).mkdir(parents=True)
        for number in range(12):
            draw(label, rng, 160).save(work / "images" / label / f"{number}.png")
        draw(label, rng, 160).save(work / "new" / f"{label}.png")


def use(programs: Path, work: Path) -> None:
    """Run the commands, and check what they wrote."""
    command = programs / "lmm-classifier"
    code = "import importlib.util as u; print([name for name in ('torch', 'transformers') if u.find_spec(name)])"
    assert _run([programs / "python", "-c", code], work).strip() == "[]", "torch can be imported"
    guarded = [programs / "python", "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"]
    done = subprocess.run(guarded, capture_output=True, text=True, check=False)
    assert "the program used the network" in done.stderr, "the network is not guarded"
    _run([command, "build", "images", "--config", "lite"], work)
    _run([command, "classify", "new"], work)  # the index remembers its encoders
    lines = _run([command, "classify", "new", "--format", "jsonl"], work).splitlines()
    labels = {Path(result["path"]).stem: result["label"] for result in map(json.loads, lines)}
    assert labels == {label: label for label in _LABELS}, labels
    _run([command, "init", "own.yaml"], work)
    assert "backend: lite" in (work / "own.yaml").read_text(encoding="utf-8")
    _run([command, "calibrate", "--config", "own.yaml"], work)
    _run([command, "audit", "--config", "own.yaml"], work)
    assert json.loads(_run([command, "config", "--schema"], work))["properties"]
    assert (programs.parent / "share/man/man1/lmm-classifier.1").is_file()


def _run(command: list[str | Path], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG_", "LMM_"))}
    environment["HOME"] = str(folder)  # nothing of the user's is seen, and nothing is left there
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
