"""Nothing of the current folder is executed: not by a decoder process, and not by a command, whatever lies there."""

import os
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
from PIL import Image

from lmm_classifier.data.decoding.decoder_start import import_path, start_decoder
from lmm_classifier.data.images import accepted_formats
from tests.helpers.command_line import COMMAND, OFFLINE
from tests.helpers.datasets import draw_dataset
from tests.helpers.paths import ROOT

HOSTILE = "open({mark!r}, 'w').close(); raise SystemError('executed: ' + __name__)\n"  # imports nothing itself
PYTHON = [sys.executable]
PROGRAMS = {
    "script": [COMMAND],
    "module": [*PYTHON, "-m", "lmm_classifier"],
}
COMMANDS = {
    "info": ["info"],
    "doctor": ["doctor"],
    "sync": ["sync", "dataset"],
    "classify": ["classify", "dataset", "--output", "out.jsonl", "--overwrite"],
    "evaluate": ["evaluate", "other", "--html", "evaluation.html"],
    "audit": ["audit", "--html", "audit.html"],
    "calibrate": ["calibrate"],
    "add": ["add", "new.tif", "--label", "stripes"],
    "export": ["export", "--output", "out.npz", "--overwrite"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of images of every format, an index, and a module of each name that Python or a library may import."""
    place = tmp_path_factory.mktemp("hostile")
    root = draw_dataset(place / "dataset", ["stripes", "gingham"], 3)
    draw_dataset(place / "other", ["stripes", "gingham"], 3, seed=1)
    image = Image.open(next(root.rglob("*.png"))).convert("RGB")
    for kind in accepted_formats():
        for label in ("stripes", "gingham"):
            image.save(root / label / f"other.{kind.lower()}", kind)
    image.rotate(90).save(place / "new.tif")
    plant(place, modules() - imported_by_python())
    (place / "PIL").mkdir(exist_ok=True)
    (place / "PIL" / "__init__.py").write_text(HOSTILE.format(mark=str(place / "EXECUTED")), encoding="utf-8")
    call([*PYTHON, "-m", "lmm_classifier.index_builder", "dataset", "--config", OFFLINE], place)
    return place


def modules():
    """All names that Python or a library may import."""
    names = {*sys.stdlib_module_names, *packages_distributions(), "sitecustomize", "usercustomize", "pillow_heif"}
    return {name for name in names if name.isidentifier()} - {"lmm_classifier", "PIL"}


def imported_by_python():
    """What `python -m` imports, from the current folder too, before it knows which module to run."""
    listing = "import runpy, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", listing], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()} | {"pkgutil"}


def plant(place, names):
    for name in names:
        (place / f"{name}.py").write_text(HOSTILE.format(mark=str(place / "EXECUTED")), encoding="utf-8")


def call(command, place):
    # what a developer's PYTHONPATH finds is found; the current folder is not on it
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
    assert not (place / "EXECUTED").exists(), (command, done.stderr[-500:])
    assert done.returncode in (0, 3), (command, done.stdout[-500:], done.stderr[-2000:])


@pytest.mark.long
def test_a_build_runs_nothing_of_the_current_folder(folder):
    """Images of every format are decoded, each by the installed libraries."""
    assert (folder / "index").is_dir()


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_command_runs_anything_of_the_current_folder(folder, program, command):
    """The script meets nothing at all; `python -m` only what Python itself imports before the package."""
    if program == "script":
        plant(folder, imported_by_python())
    try:
        call([*PROGRAMS[program], *COMMANDS[command], "--config", OFFLINE], folder)
    finally:
        for name in imported_by_python():
            (folder / f"{name}.py").unlink(missing_ok=True)


@pytest.mark.long
def test_a_library_user_in_a_hostile_folder_starts_a_clean_decoder(folder):
    """`python -c` has the current folder on its path, as Python has it; the decoder process has not."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from lmm_classifier.data.images import read_image\n"
        "os.chdir(sys.argv[1]); sys.path.insert(0, ''); sys.path.insert(0, sys.argv[1])\n"
        "print(read_image(Path('new.tif')).image.size)"
    )
    env = {**os.environ, "PYTHONPATH": f"{os.pathsep}{ROOT}"}  # an empty entry is the current folder
    command = [sys.executable, "-P", "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, cwd=ROOT)
    assert done.stdout.startswith("(")
    assert not (folder / "EXECUTED").exists()


def test_the_import_path_has_no_current_folder(monkeypatch, tmp_path):
    """Empty and relative entries mean the current folder; a full path in PYTHONPATH is kept, wherever one is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", "somewhere", str(tmp_path), "/usr/lib/x"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "."]))
    assert import_path() == ["/usr/lib/x"]
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert import_path() == [str(tmp_path), "/usr/lib/x"]


def test_a_decoder_gets_no_secret_and_no_current_folder(monkeypatch, tmp_path):
    """Keys stay out of its environment, and relative names lead nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    program = "import os, lmm_classifier; print(dict(os.environ), os.getcwd(), lmm_classifier.__file__)"
    with start_decoder(program) as child:
        output = child.stdout.read().decode()
    assert "sk-secret" not in output
    assert str(tmp_path) not in output
    assert output.split()[-2:] == [tmp_path.anchor, str(ROOT / "lmm_classifier" / "__init__.py")]


def test_python_m_forgets_the_current_folder(tmp_path):
    """A later import, such as that of an extra which is not installed, does not find a file there."""
    (tmp_path / "absent.py").write_text(HOSTILE.format(mark=str(tmp_path / "EXECUTED")), encoding="utf-8")
    code = (
        "import importlib.util, sys; sys.argv[0] = '-m'; import lmm_classifier\n"
        "print(importlib.util.find_spec('absent'))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
