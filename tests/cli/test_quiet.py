"""With `--quiet` a command writes its results and its errors only."""

import pytest

from lmm_classifier.cli.quiet import is_quiet, quiet_if
from tests.helpers.command_line import OFFLINE, run


def test_quiet_holds_for_its_block():
    """Also where the block fails."""
    with pytest.raises(KeyError), quiet_if(True):
        assert is_quiet()
        raise KeyError
    assert not is_quiet()


@pytest.mark.parametrize("flag", ["-q", pytest.param("--quiet", marks=pytest.mark.long)])
def test_a_quiet_command_writes_nothing_but_results(place, tmp_path, flag):
    """No progress, no summary and no warning; the results are the same."""
    build = ["build", place / "dataset", "--output", tmp_path / "index.npz", "--config", OFFLINE]
    classify = ["classify", place / "new", "--index", tmp_path / "index.npz", "--config", OFFLINE, "--format", "jsonl"]
    assert run(*build).stderr
    assert run(*build, flag).stderr == ""
    plain, quiet = run(*classify), run(*classify, flag)
    assert "8 images" in plain.stderr
    assert (quiet.stderr, quiet.stdout) == ("", plain.stdout)


def test_a_quiet_command_still_writes_its_errors(tmp_path):
    """On standard error, as one line."""
    done = run("classify", tmp_path, "-q", "--config", OFFLINE, code=1)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_log_file_keeps_its_level(place, tmp_path):
    """`--quiet` is about the terminal."""
    log = tmp_path / "log.txt"
    run("classify", place / "new/stripes/00.png", "--index", place / "index.npz", "--config", OFFLINE, "-q",
        "--set", f"logging.file={log}")  # fmt: skip
    assert "descriptor" in log.read_text()
