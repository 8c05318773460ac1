"""The library prints nothing, knows nothing of the command line, and names none of its flags."""

import ast
import re

import pytest

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "lmm_classifier"
ENTRY_POINTS = {"index_builder.py", "__main__.py"}
MAY_WRITE = {
    "logging_config.py": "it sends log records to standard error",
}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
COMMAND = re.compile(r"`[^`]*`")


def library():
    """Return every module outside the command line."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return [path for path in paths if "cli" not in path.relative_to(PACKAGE).parts and path.name not in ENTRY_POINTS]


def relative(path):
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", library(), ids=relative)
def test_a_library_module_knows_no_command_line(path):
    """It imports nothing of `cli`, prints nothing, and touches neither standard output nor standard error."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in imported if name.startswith(("lmm_classifier.cli", "typer", "rich"))]
    if relative(path) in MAY_WRITE:
        return
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    attributes = [f"{ast.unparse(node)}" for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert "print" not in names
    assert not {"sys.stdout", "sys.stderr"} & set(attributes)


@pytest.mark.parametrize("path", library(), ids=relative)
def test_a_library_module_names_no_flag(path):
    """A server or a notebook cannot use a flag. A message may name a whole command in backticks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    flags = [flag for text in texts for flag in FLAG.findall(COMMAND.sub("", text))]
    assert flags == []
