"""The manual page has every command and option, and roff finds no fault in it."""

import shutil
import subprocess

import pytest
import typer

from lmm_classifier.cli.app import COMMANDS, app
from scripts.man_page import entry, man_page
from tests.helpers.paths import ROOT

PAGE = ROOT / "man/lmm-classifier.1"


def test_every_command_and_option_is_there():
    """Each command has a section, each option an entry."""
    text = PAGE.read_text(encoding="utf-8")
    assert text == man_page(), "run `make docs`"
    group = typer.main.get_command(app)
    for name in COMMANDS:
        assert f'.SS "{name}"'.replace("-", "\\-") in text
        for parameter in group.get_command(None, name).params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert option.replace("-", "\\-") in text, (name, option)


def test_roff_finds_no_fault():
    """Groff with all warnings writes nothing to standard error."""
    groff = shutil.which("groff") or pytest.skip("groff is not installed")
    done = subprocess.run([groff, "-man", "-ww", "-z", PAGE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_text_is_shown_as_it_is():
    """A dash, a backslash, and a line that begins like a command of roff."""
    assert entry("--a", ".b\\c") == ".TP\n.B \\-\\-a\n\\&.b\\ec"
