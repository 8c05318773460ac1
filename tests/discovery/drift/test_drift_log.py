"""The stored test: cut at any byte and resumed it is the same test, and other files are not touched."""

import numpy as np
import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.discovery.drift.drift_log import DriftLog, line_of, parsed_line
from lmm_classifier.discovery.drift.drift_test import DriftTest

INDEX = "0123456789abcdef"
HELD_OUT = np.random.default_rng(0).normal(size=40)
IMAGES = [(f"new/{n}\udcff.jpg", f"{n}", float(value)) for n, value in enumerate(np.linspace(-4, 1, 12))]
IMPOSSIBLE = line_of(DriftTest.of(HELD_OUT).observe("a", "b", 0)).replace('"p": 0', '"p": 7')
BEGUN = f'{{"index": "{INDEX}"}}\n'


def observe_all(path):
    with DriftLog(path, HELD_OUT, INDEX) as log:
        for image in IMAGES:
            log.observe(*image)
        return log.test


def test_an_interrupted_test_is_resumed(tmp_path):
    """Whatever the last byte on the disk is."""
    whole = observe_all(tmp_path / "whole.jsonl")
    data = (tmp_path / "whole.jsonl").read_bytes()
    for end in range(0, len(data), 37):
        (tmp_path / "torn.jsonl").write_bytes(data[:end])
        assert observe_all(tmp_path / "torn.jsonl") == whole
        assert (tmp_path / "torn.jsonl").read_bytes() == data


def test_a_line_holds_all_of_an_image():
    """The p-value exactly, the name with any bytes."""
    image = DriftTest.of(HELD_OUT).observe(*IMAGES[3])
    assert parsed_line(line_of(image)) == image


@pytest.mark.parametrize(
    "text",
    [
        "a text\n",
        "a text",
        "{}\n",
        '{"a": 1}',
        '{"name": 1}\n',
        "[1]\n",
        BEGUN + IMPOSSIBLE,
        BEGUN + "a text",
        BEGUN + BEGUN,
    ],
)
def test_another_file_is_refused_and_not_changed(tmp_path, text):
    """A file of results, for instance."""
    file = tmp_path / "other.jsonl"
    file.write_text(text)
    with pytest.raises(OutputError, match=r"other\.jsonl"):
        DriftLog(file, HELD_OUT, INDEX)
    assert file.read_text() == text


def test_the_test_of_another_index_is_refused(tmp_path):
    """It says which, and the test of the own index resumes, also where its held-out examples changed."""
    file = tmp_path / "a.drift"
    observe_all(file)
    data = file.read_bytes()
    with pytest.raises(OutputError, match="expected fedcba9876543210, got 0123456789abcdef"):
        DriftLog(file, HELD_OUT, "fedcba9876543210")
    assert file.read_bytes() == data
    with DriftLog(file, HELD_OUT[:30], INDEX) as log:
        log.observe("later.jpg", "later", 0.0)
    assert log.test.compared == len(IMAGES) + 1


def test_a_folder_or_a_file_in_use_is_refused(tmp_path):
    """Two runs cannot write one test."""
    with pytest.raises(OutputError, match="no file"):
        DriftLog(tmp_path, HELD_OUT, INDEX)
    with DriftLog(tmp_path / "log", HELD_OUT, INDEX), pytest.raises(OutputError, match="Another program"):
        DriftLog(tmp_path / "log", HELD_OUT, INDEX)
