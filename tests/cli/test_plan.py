"""`plan` prints an estimate, for people and as JSON."""

import json

import pytest
import typer

from lmm_classifier.cli.plan import whole_number
from tests.helpers.command_line import run


def test_a_billion_images():
    """Sizes, hours, calls and what saturates; no cost without a price."""
    text = run("plan", "--images", "1e9", "--labels", "1e4", "--gpu", "h100").stdout
    for part in ("300 TB", "4.61 TB", "453 GPU hours", "326,000,000 images  calls", "REACHED  graph in memory"):
        assert part in text
    assert "cost" not in text
    assert "decode_ms = 4.1 ms of a core" in text


def test_prices_and_assumptions_are_those_given():
    """In JSON, and without a cluster where one machine is enough."""
    given = ["--gpu-hour", 2, "--assume", "gpu_tflops=670", "--assume", "image_kb=80", "--json"]
    shown = json.loads(run("plan", "--images", "3_600_000", "--labels", "10", *given).stdout)
    assert shown["fits_one_machine"]
    assert shown["encoding"]["encoding_gpu_hours"]["value"] == pytest.approx(1, rel=0.01)
    assert shown["costs"][0] == {"name": "encoding the index", "value": pytest.approx(2, rel=0.01), "per_month": False}
    text = run("plan", "--images", "1,000", "--labels", "10").stdout
    assert "One machine is enough" in text


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (["--images", "2.5"], 2, "whole number"),
        (["--images", "many"], 2, "whole number"),
        (["--images", "inf"], 2, "whole number"),
        (["--images", "5"], 1, "at most as many labels"),
        (["--images", "100", "--gpu", "k80"], 1, "gpu_tflops"),
        (["--images", "100", "--assume", "decode_ms"], 2, "NAME=NUMBER"),
        (["--images", "100", "--assume", "decode_ms=soon"], 2, "NAME=NUMBER"),
        (["--images", "100", "--assume", "decode=1"], 1, "decode_ms"),
        (["--images", "100", "--gpu-hour", "-1"], 1, "gpu_hour"),
    ],
)
def test_what_cannot_be_is_refused(given, code, said):
    """With what was expected."""
    assert said in run("plan", "--labels", "10", *given, code=code).stderr


def test_numbers_are_written_in_several_ways():
    """All of them whole."""
    assert [whole_number(text) for text in ("1e9", "1_000", "1,000", "7")] == [10**9, 1000, 1000, 7]
    with pytest.raises(typer.BadParameter):
        whole_number("nan")
