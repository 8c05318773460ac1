"""A person sees how far a run is, wherever it runs; a function is called instead where one is given."""

import sys
from types import SimpleNamespace

import pytest

from lmm_classifier.core import progress_display
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.progress import Progress
from lmm_classifier.core.progress_display import ProgressDisplay, describe, displayed


def test_a_function_is_passed_on_and_nothing_shows_nothing(capsys):
    """None and False are alike; a function gets the states itself."""
    states = []
    with displayed(states.append) as show:
        show(Progress("encoding", 1, 2))
    assert states == [Progress("encoding", 1, 2)]
    for nothing in (None, False):
        with displayed(nothing) as show:
            assert show is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("wrong", [1, "yes", 0])
def test_anything_else_is_refused(wrong):
    """Also 1, which equals True; the message says what was expected."""
    with pytest.raises(ConfigError, match="Expected True to show it"), displayed(wrong):
        pass


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys, monkeypatch):
    """The last line always comes; lines in between only every few seconds."""
    with displayed(True) as show:
        for done in range(1, 4):
            show(Progress("encoding", done, 3, skipped=1))
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert printed.out == ""
    assert line.startswith("encoding 3/3, ")
    assert line.endswith("skipped 1")
    monkeypatch.setattr(progress_display, "_LINE_SECONDS", 0.0)
    with displayed(True) as show:
        show(Progress("encoding", 1, None))
        show(Progress("encoding", 2, 4))
    without_total, with_total = capsys.readouterr().err.splitlines()
    assert without_total.startswith("encoding 1, ")
    assert with_total.endswith("s left")


def test_words():
    """The rate is that of the stage, and the time left follows from it."""
    assert describe(Progress("encoding", 50, 100, 2), 5.0) == "encoding 50/100, 10.0/s, skipped 2, 5 s left"
    assert describe(Progress("encoding", 100, 100), 5.0) == "encoding 100/100, 20.0/s, skipped 0"
    assert describe(Progress("encoding", 7, None), 7.0) == "encoding 7, 1.0/s, skipped 0"
    assert describe(Progress("encoding", 0, 100), 5.0) == "encoding 0/100, 0.0/s, skipped 0"


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    """With counts and rate; two at once do not break each other, and a command that is quiet has none."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with displayed(True) as show:
        show(Progress("encoding", 1, 3))
        with displayed(True) as inner:
            inner(Progress("comparing", 2, 2))
        show(Progress("encoding", 3, 3, skipped=1))
    text = capsys.readouterr().err
    assert "3/3" in text
    assert "skipped 1" in text
    with ProgressDisplay(write_line=lambda _: None, bar=False) as show:
        show(Progress("encoding", 3, 3))
    assert capsys.readouterr().err == ""


def test_a_notebook_gets_one_output_that_is_replaced(monkeypatch):
    """It is HTML with the same in words, escaped; the last state is always shown."""
    shell = pytest.importorskip("IPython.core.interactiveshell", reason="IPython is not installed")
    display = pytest.importorskip("IPython.display")
    sent = []
    publisher = SimpleNamespace(publish=lambda **message: sent.append(message))
    fake = SimpleNamespace(kernel=object(), display_pub=publisher)
    monkeypatch.setattr("IPython.get_ipython", lambda: fake)
    monkeypatch.setattr(shell.InteractiveShell, "initialized", classmethod(lambda _: True))
    monkeypatch.setattr(shell.InteractiveShell, "instance", classmethod(lambda *_: fake))
    assert display
    with displayed(True) as show:
        for done in range(1, 101):
            show(Progress("a <b>", done, 100))
    assert len(sent) < 20
    first, last = sent[0], sent[-1]
    assert not first.get("update")
    assert last["update"]
    assert first["transient"] == last["transient"]
    assert '<progress value="100" max="100">' in last["data"]["text/html"]
    assert "a &lt;b&gt; 100/100" in last["data"]["text/html"]
    assert last["data"]["text/plain"].startswith("a <b> 100/100, ")
