"""Run the tests on every Python version, without torch, and in random order.

`python -m scripts.test_matrix` makes an environment in `.venvs/` for each version whose interpreter is found, and
installs the project there as `make test` does. Where torch cannot be had, its tests are skipped. A version without an
interpreter is skipped with a line that says so. Warnings are errors, as always in the tests.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
SEEDS = (1, 2, 3)
TORCH = "torch==2.13.0"  # first and alone: a range in another package would choose a build of several gigabytes
_ENVIRONMENTS = ROOT / ".venvs"
_TESTS = ("-m", "pytest", "--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile")
_ORDER = ("--random-order-bucket", "module", "--random-order-seed")  # shared fixtures of a module are made once


@dataclass(frozen=True)
class Run:
    """One run of the tests: a name, an interpreter, more options and variables."""

    name: str
    python: Path
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


def find_interpreter(version: str) -> Path | None:
    """Return an interpreter of this version that starts: this one, one on the path, or one of pyenv's."""
    if version == ".".join(map(str, sys.version_info[:2])):
        return Path(sys.executable)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser())
    found = [Path(path)] if (path := shutil.which(f"python{version}")) else []
    for python in [*found, *sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)]:
        code = "import sys, venv; print('.'.join(map(str, sys.version_info[:2])))"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return python
    return None


def environment(version: str, interpreter: Path) -> Path:
    """Return the interpreter of an environment with the project installed; the one in use serves its own version."""
    if interpreter == Path(sys.executable):
        return interpreter
    folder = _ENVIRONMENTS / version
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")))
    if done.is_file() and done.read_text() == wanted.hexdigest():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", ROOT / "constraints.txt"]
    if subprocess.run([*pip, TORCH], check=False).returncode == 0:
        subprocess.run([*pip, *constraints, "--editable", f"{ROOT}[all,dev]"], check=True)
    else:
        print(f"{version}: {TORCH} cannot be installed, so its tests are skipped", flush=True)
        without = "openvino,onnx,openai-api,heif,search,ann"
        requirements = [text for text in _development() if not text.startswith(("transformers", "lmm-classifier"))]
        subprocess.run([*pip, *constraints, "--editable", f"{ROOT}[{without}]", *requirements], check=True)
    done.write_text(wanted.hexdigest())
    return python


def _development() -> list[str]:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements: list[str] = project["optional-dependencies"]["dev"]
    return requirements


def planned(versions: list[str], seeds: list[int]) -> list[Run]:
    """Return the runs: each version in the order of the files, then this one without torch and in random orders."""
    runs = []
    for version in versions:
        interpreter = find_interpreter(version)
        if interpreter is None:
            print(f"Python {version}: skipped, there is no interpreter", flush=True)
            continue
        runs.append(Run(f"Python {version}", environment(version, interpreter)))
    this = Path(sys.executable)
    hidden = ("-p", "tests.helpers.hidden_libraries")
    runs.append(Run("without torch", this, hidden, (("HIDDEN_LIBRARIES", "torch transformers"),)))
    runs += [Run(f"random order, seed {seed}", this, (*_ORDER, str(seed))) for seed in seeds]
    return runs


def carry_out(run: Run) -> bool:
    """Run the tests, print one line, and on a failure the end of their output; return whether they passed."""
    started = time.monotonic()
    done = subprocess.run(
        [run.python, *_TESTS, *run.options],
        cwd=ROOT,
        env={**os.environ, **dict(run.variables)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    summary = lines[-1] if lines else done.stderr.strip()
    print(f"{run.name}: {summary} ({time.monotonic() - started:.0f} s)", flush=True)
    if done.returncode != 0:
        print("\n".join(lines[-60:]), done.stderr[-2000:], sep="\n", flush=True)
    return done.returncode == 0


def main() -> int:
    """Carry out all runs; return 1 if one failed."""
    parser = argparse.ArgumentParser(description="Run the tests on every Python version and in random order.")
    parser.add_argument(
        "--python", action="append", metavar="VERSION", help=f"one of {', '.join(VERSIONS)}; repeatable"
    )
    parser.add_argument("--seed", action="append", type=int, help="a seed of the random order; repeatable")
    options = parser.parse_args()
    results = [carry_out(run) for run in planned(options.python or [*VERSIONS], options.seed or [*SEEDS])]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
