"""Logging is configured in one place, and JSON logs have one valid object per line."""

import doctest
import json
import logging
import subprocess
import sys
import warnings

import pytest

from lmm_classifier import logging_config
from lmm_classifier.logging_config import configure_logging


@pytest.fixture(autouse=True)
def _restored():
    yield
    for name in ("lmm_classifier", "py.warnings"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = True
    logging.getLogger("lmm_classifier").setLevel(logging.NOTSET)
    logging.captureWarnings(False)


def test_the_example_of_the_docstring_runs():
    """It logs to a file."""
    outcome = doctest.testmod(logging_config)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_json_lines_parse_with_exception_and_extras(capsys):
    """Each record is one object that parses, for any values in it."""
    configure_logging("DEBUG", json_lines=True)
    logger = logging.getLogger("lmm_classifier.somewhere")
    logger.info("two\nlines and %s", "\udcff", extra={"n": 3, "bad": float("nan"), "obj": object(), "d": {1: 2}})
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("failed")
    lines = capsys.readouterr().err.splitlines()
    first, second = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert first["message"] == "two\nlines and \udcff"
    assert (first["level"], first["logger"], first["n"], first["bad"]) == ("INFO", "lmm_classifier.somewhere", 3, "nan")
    assert "ValueError: broken" in second["exception"]
    assert second["time"].endswith("+00:00")


def test_levels_and_plain_text(capsys):
    """Records under the level are not written; plain text has level and logger; no file name breaks the stream."""
    configure_logging("WARNING")
    logging.getLogger("lmm_classifier.x").info("hidden")
    logging.getLogger("lmm_classifier.x").warning("name \udcff")
    err = capsys.readouterr().err
    assert "hidden" not in err
    logging.getLogger("lmm_classifier.x").error("a\nb\x1b[2J")
    assert capsys.readouterr().err.endswith("ERROR lmm_classifier.x: a\\nb\\x1b[2J\n")
    assert "WARNING lmm_classifier.x: name \\udcff" in err


def test_a_second_call_replaces_the_first(capsys, tmp_path):
    """Records then go to the file only."""
    configure_logging("INFO")
    configure_logging("INFO", json_lines=True, file=tmp_path / "log.jsonl")
    logging.getLogger("lmm_classifier").info("once")
    assert capsys.readouterr().err == ""
    assert json.loads((tmp_path / "log.jsonl").read_text(encoding="utf-8"))["message"] == "once"


def test_python_warnings_are_logged(capsys):
    """A warning of a library becomes a record, so that JSON output stays JSON."""
    configure_logging("INFO", json_lines=True)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("odd metadata", UserWarning, stacklevel=1)
    assert "odd metadata" in json.loads(capsys.readouterr().err)["message"]


def test_unknown_level():
    """A level that does not exist is refused."""
    with pytest.raises(ValueError, match="NO_LEVEL"):
        configure_logging("NO_LEVEL")


def test_import_configures_nothing():
    """Importing every room adds no handler anywhere."""
    code = (
        "import logging, lmm_classifier, lmm_classifier.pipeline.classifier\n"
        "import lmm_classifier.index_builder, lmm_classifier.cli.app\n"
        "assert not logging.getLogger().handlers and not logging.getLogger('lmm_classifier').handlers"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
