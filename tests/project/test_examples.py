"""The programs in `examples/` run as they are and print what they should."""

import ast
import json
import os
import subprocess
import sys
from importlib import import_module

import pytest

from tests.helpers.paths import ROOT

EXPECTED = {
    "01_quickstart.py": ["90 images of 6 labels indexed, 0 skipped", "gingham.png: gingham", "leopard.png: unknown"],
    "02_own_encoder.py": ["the encoder follows the protocol", "80 images indexed by spectrum:", "stripes.png: stripes"],
    "03_review_unknowns.py": ["before: gingham: ", "taught 4 images of leopard; the index has 94", "leopard: "],
    "04_calibration_and_unknowns.py": [
        "at most 10% of answers with a score of at least ",
        "120 known images: ",
        "unknown images recognized: ",
        "% of known images accepted: ",
    ],
}
NOTEBOOKS = {  # what their outputs hold, as text or as HTML
    "quickstart.ipynb": [
        "<h3>Calibration</h3>",
        "3 results",
        "<h3>gingham</h3>",
        '<h3 class="unknown">unknown</h3>',
        "/s",
    ],
    "calibration_and_unknowns.ipynb": [
        "wrong among accepted answers, with probability 0.9",
        "unknown AUROC",
        "image/png",
        "of known images accepted",
    ],
    "review_and_teach.ipynb": [
        "before: {",
        "<h3>Edit 2</h3>",
        "after: {",
        "<h3>Audit of the dataset</h3>",
        "<dt>removed",
    ],
}
QUIET = "import warnings\nwarnings.simplefilter('error')"  # the first cell of a run: a warning is an error


def test_every_example_is_listed():
    """A new example has lines here that it must print."""
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXPECTED)
    assert {path.name for path in (ROOT / "examples").glob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_an_example_imports_exists(name):
    """And nothing is imported but public names; the same program as the first one stands in the README, and runs."""
    assert_public_imports((ROOT / "examples" / name).read_text(encoding="utf-8"))


def assert_public_imports(text):
    """Assert that what a program imports exists."""
    tree = ast.parse(text)
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported = [node for node in nodes if node.module.startswith("lmm_classifier")]
    assert imported
    for node in imported:
        module = import_module(node.module)
        assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.long
@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs(tmp_path, name):
    """Each program ends without an error or a warning, draws its own data and leaves no file behind."""
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / name],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in EXPECTED[name]:
        assert line in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stored_without_outputs(name):
    """Outputs would go stale and fill the history; what it imports exists, and the style is that of the programs."""
    notebook = json.loads((ROOT / "examples" / name).read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None or cell["metadata"]] == []
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert_public_imports("\n".join("".join(cell["source"]) for cell in cells))


@pytest.mark.long
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(tmp_path, monkeypatch, name):
    """Each cell runs without an error or a warning, shows what it should, and leaves no file behind."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    if "plots" in (ROOT / "examples" / name).read_text(encoding="utf-8"):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    notebook = nbformat.read(ROOT / "examples" / name, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(QUIET))
    for variable in ("TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR", "JUPYTER_CONFIG_DIR"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = "".join(json.dumps(cell.outputs, ensure_ascii=False) for cell in notebook.cells if "outputs" in cell)
    for text in NOTEBOOKS[name]:
        assert json.dumps(text, ensure_ascii=False)[1:-1] in outputs
    assert "<script" not in outputs
    assert not [path for path in (tmp_path / "TMPDIR").iterdir() if path.name.startswith("tmp")]
