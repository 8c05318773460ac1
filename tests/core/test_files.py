"""A written file appears whole or not at all."""

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.files import atomic_write, content_hash, require_place, umask


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


def test_threads_read_the_umask_at_once():
    """None sees, or leaves, what another one set for a moment."""
    before = umask()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: umask(), range(4000))) == {before}
    assert umask() == before


def test_names_of_the_greatest_length_can_be_written(tmp_path):
    """A name of 255 bytes works, although a longer temporary name would not."""
    target = tmp_path / ("\N{SNOWMAN}" * 85)
    with atomic_write(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_device_or_a_pipe_is_written_not_replaced(tmp_path):
    """As `--json /dev/stdout` means it; a link keeps leading to its file."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with atomic_write(tmp_path / "pipe") as temporary:
            temporary.write_text("whole")
        assert os.read(reader, 100) == b"whole"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "target").write_text("former")
    (tmp_path / "link").symlink_to("target")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_a_place_that_cannot_be_written_is_told_before_a_long_run(tmp_path):
    """A folder, and a file in a folder that does not exist; an ordinary place is accepted and not touched."""
    require_place(None, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
    for path in (tmp_path, tmp_path / "missing/page.html"):
        with pytest.raises(OutputError, match=f"Cannot write {path}"):
            require_place(None, path)


def test_a_file_that_is_no_text_is_not_the_place_of_an_output(tmp_path):
    """An option may have taken the name of an image or of an index; former outputs are text."""
    for name, content in (("photo.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), ("index.sqlite", b"SQLite format 3\0")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OutputError, match=f"{name}: it exists and is no text file. Nothing was changed"):
            require_place(tmp_path / name)
    (tmp_path / "page.html").write_text("<!DOCTYPE html>")
    require_place(tmp_path / "page.html")


def test_two_outputs_are_not_written_to_one_file(tmp_path):
    """The second would replace the first, however its name is written; a device takes both."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="two outputs"):
        require_place(tmp_path / "a.csv", None, tmp_path / "folder" / ".." / "a.csv")
    require_place(Path(os.devnull), Path(os.devnull))


def test_a_content_hash_is_that_of_all_bytes(tmp_path):
    """Only of a regular file."""
    (tmp_path / "file").write_bytes(b"abc" * 1_000_000)
    assert content_hash(tmp_path / "file") == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "missing", "."):
        with pytest.raises(OSError):
            content_hash(tmp_path / name)
