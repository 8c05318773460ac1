"""Make the environment of a set of tools, apart from the extras that users install.

`python -m scripts.tool_environment site` installs `requirements/site.txt` into `.venvs/site`, once for each content of
that file, and prints the folder of its programs.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements"
_ENVIRONMENTS = ROOT / ".venvs"


def tool_environment(name: str) -> Path:
    """Return the folder of the programs of an environment, which is made if it is not there or not current.

    Raises:
        subprocess.CalledProcessError: pip cannot install the requirements; its output is on standard error.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    folder = _ENVIRONMENTS / name
    done, programs = folder / "installed", folder / ("Scripts" if sys.platform == "win32" else "bin")
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if not (done.is_file() and done.read_text(encoding="utf-8") == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", requirements], check=True)
        done.write_text(wanted, encoding="utf-8")
    return programs


def main() -> None:
    """Make the environment that the command line names."""
    names = sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))
    if len(sys.argv) != 2 or sys.argv[1] not in names:
        raise SystemExit(f"Usage: python -m scripts.tool_environment {'|'.join(names)}")
    print(tool_environment(sys.argv[1]))


if __name__ == "__main__":
    main()
