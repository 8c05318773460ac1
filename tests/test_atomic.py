"""Files and folders appear whole or not at all."""

import stat

import pytest

from lmm_classifier.atomic import replacing_file, replacing_folder


def test_a_file_is_replaced_at_the_end_only(tmp_path):
    """Until the block ends the old content stands; afterwards nothing temporary is left."""
    target = tmp_path / "result.json"
    target.write_text("old")
    with replacing_file(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_an_error_keeps_the_old_file(tmp_path):
    """If the block fails, the old content stays and the temporary file goes."""
    target = tmp_path / "result.json"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_result_is_readable_by_others(tmp_path):
    """A result file gets ordinary permissions, not those of a private temporary file."""
    (tmp_path / "plain").touch()
    with replacing_file(tmp_path / "result") as temporary:
        temporary.touch()
    assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_is_replaced_if_it_is_ours(tmp_path):
    """An old folder of ours and an empty one make room; any other is left alone."""
    target = tmp_path / "index"
    for content in ("one", "two"):
        with replacing_folder(target, lambda old: (old / "mark").exists()) as folder:
            (folder / "mark").write_text(content)
    assert (target / "mark").read_text() == "two"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter").write_text("dear")
    with (
        pytest.raises(FileExistsError, match="left as it is"),
        replacing_folder(foreign, lambda old: (old / "mark").exists()),
    ):
        pass
    assert (foreign / "letter").read_text() == "dear"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "index"]
