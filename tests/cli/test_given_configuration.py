"""A command that is printed as advice has the configuration that the command line was given."""

import logging

import pytest

from lmm_classifier.cli.console import print_error
from lmm_classifier.cli.given_configuration import complete_commands, complete_logged_commands, given_configuration
from lmm_classifier.logging_config import configure_logging
from tests.helpers.command_line import OFFLINE, run


def test_commands_that_depend_on_the_configuration_are_completed():
    """Others, and words that only begin like them, stay; without a configuration nothing is added."""
    text = "run `lmm-classifier calibrate --rerank` or `lmm-classifier doctor x`; `lmm-classifier builder`, calibrate"
    assert complete_commands(text) == text
    with given_configuration("my own.yaml", ["retrieval.k=3"]):
        whole = "`lmm-classifier calibrate --rerank --config 'my own.yaml' --set retrieval.k=3`"
        assert complete_commands(text) == text.replace("`lmm-classifier calibrate --rerank`", whole)
        assert complete_commands("`lmm-classifier build`") == complete_commands("`lmm-classifier build`")
    assert complete_commands(text) == text


@pytest.mark.parametrize("secret", ["rerank.server.extra_headers={X-Key: s3cret}", "a.b=http://me:s3cret@host/v1"])
def test_a_secret_is_not_printed_as_advice(secret):
    """Nor a setting of the log, which changes no answer."""
    with given_configuration(None, [secret, "logging.level=ERROR"]):
        assert complete_commands("`lmm-classifier sync`") == "`lmm-classifier sync`"


def test_errors_and_the_log_have_complete_commands(capsys):
    """A percent sign in a name does no harm."""
    with given_configuration("100%.yaml", None):
        configure_logging()
        complete_logged_commands()
        try:
            logging.getLogger("lmm_classifier").warning("%d s: `lmm-classifier calibrate`", 3)
        finally:
            configure_logging("WARNING")
        print_error("run `lmm-classifier build`")
    err = capsys.readouterr().err
    assert "3 s: `lmm-classifier calibrate --config 100%.yaml`" in err
    assert "error: run `lmm-classifier build --config 100%.yaml`" in err


def test_a_calibration_of_another_configuration_is_not_to_be_replaced_by_accident(index_file):
    """`info` without the configuration names it as the cause; `calibrate` says what it replaces."""
    run("calibrate", index_file, "--config", OFFLINE, "--set", "retrieval.k=7")
    text = run("info", index_file).stdout
    assert "Use the configuration that it was calibrated with, or run `lmm-classifier calibrate` with this one" in text
    assert "because no --config is given" in text
    given = run("info", index_file, "--config", OFFLINE).stdout
    assert f"run `lmm-classifier calibrate --config {OFFLINE}` with this one" in given
    assert "because no --config is given" not in given
    replaced = run("calibrate", index_file, "--config", OFFLINE, "--keep-known", 0.9).stdout
    assert "the former calibration is replaced. The calibration is of the rule 'auto k=7" in replaced
    again = run("calibrate", index_file, "--config", OFFLINE, "--keep-known", 0.9).stdout
    assert "replaced" not in again
    assert "as asked for before" not in again
