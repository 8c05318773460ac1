"""Whole records are appended; what cannot be written whole is not there, and a torn record is told."""

import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.appended_file import AppendedFile, whole_records
from lmm_classifier.core.errors import OutputError


def test_modes(tmp_path):
    """A new file must be new or empty, a resumed one is continued, an overwritten one begins again."""
    path = tmp_path / "results"
    path.touch()
    for mode, expected in [("new", "a\n"), ("resume", "a\na\n"), ("overwrite", "a\n")]:
        with AppendedFile(path, mode) as file:
            file.append("a\n")
            assert path.read_text() == expected  # at once
    with pytest.raises(OutputError, match="exists already"):
        AppendedFile(path, "new")
    assert path.read_text() == "a\n"


def test_one_program_at_a_time(tmp_path):
    """A second one is refused, and the file stays."""
    path = tmp_path / "results"
    with AppendedFile(path, "new") as file:
        file.append("a\n")
        for mode in ("resume", "overwrite"):
            with pytest.raises(OutputError, match="Another program is writing"):
                AppendedFile(path, mode)
    assert path.read_text() == "a\n"


def test_a_full_disk_leaves_whole_records(tmp_path):
    """The record that did not fit is removed again, and the error names the file."""
    path = tmp_path / "results"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with AppendedFile(path, "new") as file:
            file.append("a" * 99 + "\n")
            resource.setrlimit(resource.RLIMIT_FSIZE, (150, limit[1]))
            with pytest.raises(OutputError, match=f"Cannot write {path}: File too large"):
                file.append("b" * 99 + "\n")
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            assert path.read_text() == "a" * 99 + "\n"
            file.append("c\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, former)
    assert path.read_text() == "a" * 99 + "\nc\n"


def test_places_that_cannot_be_written(tmp_path):
    """A folder, a missing folder, and a device that is full."""
    for path in (tmp_path, tmp_path / "missing" / "results"):
        with pytest.raises(OutputError, match="Cannot write"):
            AppendedFile(path, "new")
    if Path("/dev/full").exists():
        with pytest.raises(OutputError, match="No space left"), AppendedFile(Path("/dev/full"), "new") as file:
            file.append("a\n")


@given(records=st.lists(st.text(st.sampled_from('a"\n;')).map(lambda text: '"' + text.replace('"', '""') + '"\n')))
def test_a_torn_record_is_left_out(records):
    """Whatever the last record lost: a line break inside quotes ends no record."""
    data = "".join(records).encode()
    for end in range(len(data) + 1):
        torn = data[:end]
        whole = list(whole_records(torn.splitlines(keepends=True), b'"'))
        assert b"".join(whole) == torn[: sum(map(len, whole))]
        complete = [record.encode() for record in records]
        assert whole == complete[: len(whole)]
        assert sum(map(len, complete[: len(whole) + 1])) >= end


def test_records_without_quotes_are_lines():
    """JSON lines have no line break inside."""
    assert list(whole_records([b'{"a": "\\""}\n', b'{"b'])) == [b'{"a": "\\""}\n']
