"""A written file appears whole or not at all."""

import stat

import pytest

from lmm_classifier.core.files import atomic_write


def test_a_file_is_replaced_only_at_the_end(tmp_path):
    """Until the block ends the old content stays; afterwards no temporary file is left."""
    target = tmp_path / "result.json"
    target.write_text("old")
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_an_error_keeps_the_old_file(tmp_path):
    """If the block fails, the old content stays and the temporary file is removed."""
    target = tmp_path / "result.json"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_result_is_readable_by_others(tmp_path):
    """A result file gets ordinary permissions, not those of a private temporary file."""
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "result") as temporary:
        temporary.touch()
    assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_names_of_the_greatest_length_can_be_written(tmp_path):
    """A name of 255 bytes works, although a longer temporary name would not."""
    target = tmp_path / ("\N{SNOWMAN}" * 85)
    with atomic_write(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
