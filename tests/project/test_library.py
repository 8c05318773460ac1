"""The library prints nothing, knows nothing of the command line, and names none of its flags."""

import ast
import re

from tests.helpers.paths import ROOT
from tests.helpers.syntax import mentioning, nodes

PACKAGE = ROOT / "lmm_classifier"
ENTRY_POINTS = {"index_builder.py", "__main__.py"}
MAY_WRITE = {
    "core/progress_display.py": "it shows progress where a caller asks for that, with `progress=True`",
    "logging_config.py": "it sends log records to standard error",
}
MENTIONS = r"lmm_classifier\.cli|\b(cli|typer|rich|print|stdout|stderr)\b|--[a-z]"
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
COMMAND = re.compile(r"`[^`]*`")


def library():
    """Return every module outside the command line."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return [path for path in paths if "cli" not in path.relative_to(PACKAGE).parts and path.name not in ENTRY_POINTS]


def suspects():
    """Return those that have a word of the command line."""
    return mentioning(MENTIONS, library())


def relative(path):
    return str(path.relative_to(PACKAGE))


def faults(path):
    """Yield what a module has of the command line."""
    may_write = relative(path) in MAY_WRITE
    foreign = ("lmm_classifier.cli", "typer", *([] if may_write else ["rich"]))
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom | ast.Import):
            imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            yield from (name for name in imported if name.startswith(foreign))
        elif may_write:
            continue
        elif isinstance(node, ast.Name) and node.id == "print":
            yield "print"
        elif isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr"):
            yield from {"sys.stdout", "sys.stderr"} & {ast.unparse(node)}


def flags(path):
    """Yield the flags in the texts of a module."""
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from FLAG.findall(COMMAND.sub("", node.value))


def test_a_library_module_knows_no_command_line():
    """It imports nothing of `cli`, prints nothing, and touches neither standard output nor standard error."""
    assert [(relative(path), fault) for path in suspects() for fault in faults(path)] == []


def test_a_library_module_names_no_flag():
    """A server or a notebook cannot use a flag. A message may name a whole command in backticks."""
    assert [(relative(path), flag) for path in suspects() for flag in flags(path)] == []


def test_faults_are_found(tmp_path, monkeypatch):
    """In a module that has all of them."""
    lines = ["import rich.table", "from lmm_classifier.cli import app", "print()", "import sys", "a = sys.stderr.write"]
    (tmp_path / "bad.py").write_text("\n".join([*lines, "b = 'set --this, or run `command --that`'"]))
    monkeypatch.setitem(relative.__globals__, "PACKAGE", tmp_path)
    assert mentioning(MENTIONS, tmp_path.glob("*.py")) == [tmp_path / "bad.py"]
    assert sorted(faults(tmp_path / "bad.py")) == ["lmm_classifier.cli", "print", "rich.table", "sys.stderr"]
    assert list(flags(tmp_path / "bad.py")) == ["--this"]
