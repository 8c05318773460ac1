"""The command on a card can be pasted, whatever files and labels are called."""

import os
import subprocess
from pathlib import Path

import pytest

from lmm_classifier.cli.audit_output import relabel_command
from lmm_classifier.evaluation.audit import LabelIssue

NAMES = ["a b.png", "it's.png", "-rf.png", "two\nlines.png", "\udce9.png", "$(id)`id`\\.png", "\u202egnp.a", "'\n\\'"]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_on_a_card_can_be_pasted(name):
    """The shell hands the names to the program as they are; all of the command can be seen."""
    command = relabel_command(Path("/x") / name, LabelIssue(f"a/{name}", "a", f"-{name}", 0.1, 0.1, ()))
    assert command.isprintable()
    shown = subprocess.run(
        ["bash", "-c", f"lmm-classifier() {{ printf '%s\\0' \"$@\"; }}; {command}"], capture_output=True, check=True
    )
    words = [os.fsdecode(word) for word in shown.stdout.split(b"\0")[:-1]]
    assert words == ["relabel", f"--to=-{name}", f"--index=/x/{name}", "--", f"a/{name}"]
