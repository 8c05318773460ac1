"""Only results go to standard output; what people see in between cannot break their terminal."""

from pathlib import Path

import pytest

from lmm_classifier.cli.console import command_progress, escape_for_terminal, print_error, resumable, show_report
from lmm_classifier.cli.quiet import quiet_if
from lmm_classifier.core.progress import Progress, Skipped
from lmm_classifier.index.build.reports import BuildReport, Changes


def test_control_characters_and_odd_bytes_are_escaped(capsys):
    """A file name cannot move the cursor or begin a new line."""
    assert escape_for_terminal("a\x1b[2J\nb\udcff") == "a\\x1b[2J\\nb\\udcff"
    print_error("a\nb")
    assert capsys.readouterr().err == "error: a\\nb\n"


def test_the_progress_of_a_quiet_command_is_silent(capsys):
    """Otherwise it writes lines where there is no terminal."""
    for quiet in (False, True):
        with quiet_if(quiet), command_progress() as show:
            show(Progress("encoding", 3, 3))
        assert capsys.readouterr().err.startswith("encoding 3/3, ") is not quiet


def test_an_interrupted_build_says_that_it_can_be_resumed(capsys):
    """Not for an `.npz` file, which is written at the end."""
    for path, message in ((Path("index"), "Run the same command again to resume."), (Path("index.npz"), "")):
        with pytest.raises(KeyboardInterrupt), resumable(path):
            raise KeyboardInterrupt
        assert message in capsys.readouterr().err


def test_a_report_lists_labels_and_skipped_files(capsys, monkeypatch):
    """Unreadable images come first, long lists are cut, and the closing line counts the changes."""
    monkeypatch.setenv("COLUMNS", "120")
    skipped = [Skipped(f"note{number:02}.txt", "not an image", "ignored") for number in range(25)]
    report = BuildReport(
        "dataset", "index", ("descriptor",), {"a": 2, "b": 1}, (*skipped, Skipped("a/bad.jpg", "is broken", "corrupt")),
        ("one label has few images",), 1.0, changes=Changes(added=("a/1.jpg",), unchanged=2, encoded=1),
        encoded_by=("descriptor",),
    )  # fmt: skip
    show_report(report)
    text = capsys.readouterr().err
    assert text.index("a/bad.jpg") < text.index("note00.txt")
    assert "... and 6 more" in text
    assert "note24" not in text
    assert "warning: one label has few images" in text
    assert "3 images: 1 added, 2 unchanged; 1 encoded by descriptor in 1.0 s (1.0/s)" in text
