"""The programs in `examples/` run as they are and print what they should."""

import ast
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
}


def test_every_example_is_listed():
    """A new example has lines here that it must print."""
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_an_example_imports_exists(name):
    """And nothing is imported but public names; the same program as the first one stands in the README, and runs."""
    tree = ast.parse((ROOT / "examples" / name).read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert any(node.module.startswith("lmm_classifier") for node in imported)
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
