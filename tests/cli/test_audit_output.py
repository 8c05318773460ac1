"""The command on a card can be pasted, whatever files and labels are called."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lmm_classifier.cli.audit_output import lines, relabel_command
from lmm_classifier.evaluation.duplicates import Duplicates
from lmm_classifier.evaluation.findings import Audit, ConfusablePair, LabelIssue
from lmm_classifier.evaluation.label_noise import WrongLabels


def test_what_is_not_printed_is_counted():
    """Of every kind: nobody takes the first lines for all."""
    group = Duplicates(("a/1.png", "b/1.png"), ("a", "b"), True, 1.0, "bytes")
    audit = Audit(
        examples=9,
        judged=9,
        accuracy=0.5,
        interval=(0.1, 0.9),
        label_issues=[LabelIssue(f"a/{row}.png", "a", "b", 0.1, 0.1, ()) for row in range(4)],
        wrong_labels=WrongLabels(1, 0, 2),
        duplicates=[group] * 5,
        searched=9,
        outliers=[],
        thin={f"label {row}": 1 for row in range(6)},
        confusable=[ConfusablePair("a", f"label {row}", 1, 0.5) for row in range(7)],
        dismissed=0,
        ranking={},
    )
    more = [line.strip() for line in lines(audit, 3, 0) if " more " in line]
    assert more == [
        "1 more labels to check: --offset 3",
        "2 more groups under several labels: --limit sets how many are printed",
        "4 more pairs of labels: --limit sets how many are printed",
        "3 more labels with few examples: --limit sets how many are printed",
    ]
    assert not [line for line in lines(audit, 10, 0) if " more " in line]
    assert not [line for line in lines(audit, 10, 0) if "searched" in line]
    sampled = replace(audit, examples=200_000)
    assert "searched for duplicates      9 of 200000" in list(lines(sampled, 10, 0))


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
