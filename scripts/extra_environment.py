"""An empty environment with one extra, and the commands that are run in it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH = "torch==2.13.0"  # first and alone: a range in another package would choose a build of several gigabytes


class Environment:
    """An empty environment with one extra, and a folder with what its commands work on."""

    def __init__(self, folder: Path, wheel: Path, extra: str) -> None:
        self.folder, self.extra = folder, extra
        self._bin = folder / "venv" / "bin"
        run_checked([sys.executable, "-m", "venv", str(folder / "venv")])
        if needs_torch(extra):
            self._pip(TORCH)
        self._pip("--constraint", str(ROOT / "constraints.txt"), f"lmm-classifier[{extra}] @ {wheel.as_uri()}")

    def _pip(self, *arguments: str) -> None:
        run_checked([str(self._bin / "python"), "-m", "pip", "install", "--quiet", *arguments])

    def run(self, *arguments: object, settings: list[str] | None = None) -> str:
        """Run the command with some settings; a failure ends the program with the command's output."""
        options = [option for setting in settings or [] for option in ("--set", setting)]
        return run_checked([str(self._bin / "lmm-classifier"), *map(str, arguments), *options], self.folder)

    def python(self, code: str) -> str:
        """Run Python code in the folder; a failure ends the program with its output."""
        return run_checked([str(self._bin / "python"), "-c", code], self.folder)

    def whole(self, settings: list[str]) -> str:
        """Build an index, calibrate it and classify images; return the results as CSV."""
        self.run("build", "data", "--output", "index", settings=settings)
        self.run("calibrate", "index", settings=settings)
        return self.run("classify", "data", "--index", "index", "--format", "csv", settings=settings)


def needs_torch(extra: str, seen: frozenset[str] = frozenset()) -> bool:
    """Return whether an extra, or one that it names, requires torch."""
    requirements = extras()[extra]
    named = {name for text in requirements if text.startswith("lmm-classifier[") for name in _named(text)}
    return any(text.startswith("torch") for text in requirements) or any(
        needs_torch(name, seen | {extra}) for name in named - seen
    )


def extras() -> dict[str, list[str]]:
    """Return the extras of the project with their requirements."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    return optional


def _named(requirement: str) -> list[str]:
    return requirement.partition("[")[2].rstrip("]").split(",")


def run_checked(command: list[str], folder: Path | None = None) -> str:
    """Run a command and return its output; a failure ends the program with it."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
