"""Images come from files, folders, lists and standard input; each is read once, and nothing is dropped in silence."""

import io
import os
import sys
from pathlib import Path

import pytest

from lmm_classifier.cli.image_sources import STDIN, ImageSources, read_list
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.config import ImagesConfig

NAMES = [Path("a.jpg"), Path("b c.jpg"), Path("é.jpg"), Path(os.fsdecode(b"\xff.jpg"))]


@pytest.mark.parametrize(
    ("data", "null"),
    [
        (b"a.jpg\nb c.jpg\n\xc3\xa9.jpg\n\xff.jpg\n", False),
        (b"a.jpg\r\nb c.jpg\r\n\r\n  \r\n\xc3\xa9.jpg\r\n\xff.jpg", False),
        (b"\xef\xbb\xbfa.jpg\nb c.jpg\n\n\xc3\xa9.jpg\n\xff.jpg\n", False),
        (b"a.jpg\0b c.jpg\0\0\xc3\xa9.jpg\0\xff.jpg\0", True),
    ],
    ids=["lines", "CRLF and blank lines", "byte order mark", "NUL"],
)
def test_lists_of_files(tmp_path, data, null):
    """Whatever system wrote the list."""
    (tmp_path / "list").write_bytes(data)
    assert read_list(tmp_path / "list", null) == NAMES


def test_a_list_in_utf_16(tmp_path):
    """As a shell of Windows writes it."""
    (tmp_path / "list").write_bytes("a.jpg\r\né.jpg\r\n".encode("utf-16"))
    assert read_list(tmp_path / "list", False) == [Path("a.jpg"), Path("é.jpg")]


def test_a_name_may_hold_a_line_break(tmp_path):
    """With NUL between the names."""
    (tmp_path / "list").write_bytes(b"a\nb.jpg\0 c\r\0")
    assert read_list(tmp_path / "list", True) == [Path("a\nb.jpg"), Path(" c\r")]


@pytest.mark.parametrize(("data", "message"), [(b"", "names no file"), (b"\n\r\n", "names no"), (b"a\0b\0", "has NUL")])
def test_lists_that_name_nothing(tmp_path, data, message):
    """The error names the list."""
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(DatasetError, match=message) as caught:
        read_list(tmp_path / "list", False)
    assert str(tmp_path / "list") in str(caught.value)
    with pytest.raises(DatasetError, match="Cannot read the list"):
        read_list(tmp_path / "missing", False)


def test_a_list_from_standard_input(monkeypatch):
    """`-` is standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x.jpg\n")))
    assert read_list(STDIN, False) == [Path("x.jpg")]


def test_files_and_folders(tmp_path):
    """In the given order, each once; what is skipped has the path that the user knows."""
    for name in ("in/b.jpg", "in/a.jpg", "in/x.jp2", "in/out/cat/a.jpg", "z.jpg", "empty/.hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sources = ImageSources()
    names = ["z.jpg", "in", "in/a.jpg", "missing.jpg", "empty", "a" * 300, "nul\0.jpg"]
    sources.add([tmp_path / name for name in names], ImagesConfig(), tmp_path / "in/out")
    found = [str(path.relative_to(tmp_path)) for path in sources.paths]
    assert found == ["z.jpg", "in/a.jpg", "in/b.jpg", "missing.jpg", "a" * 300, "nul\0.jpg"]
    assert sources.repeated == 1
    kinds = {os.path.relpath(file.path, tmp_path): file.kind for file in sources.skipped}
    assert kinds == {"in/x.jp2": "unsupported", "in/out": "ignored", "empty/.hidden.jpg": "ignored", "empty": "empty"}


def test_names_that_a_shell_listed(tmp_path):
    """`new/*` names what other programs left there, too; a name given alone is always read."""
    for name in ("a.jpg", "Thumbs.db", "a.jpg~", "@eaDir/1.jpg", "__MACOSX/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sources = ImageSources()
    sources.add(sorted(tmp_path.iterdir()), ImagesConfig())
    assert [path.name for path in sources.paths] == ["a.jpg"]
    assert {Path(file.path).name: file.kind for file in sources.skipped} == dict.fromkeys(
        ["Thumbs.db", "a.jpg~", "@eaDir", "__MACOSX"], "ignored"
    )
    sources.add([tmp_path / "@eaDir"], ImagesConfig())
    sources.add([tmp_path / "Thumbs.db"], ImagesConfig())
    assert [path.name for path in sources.paths] == ["a.jpg", "1.jpg", "Thumbs.db"]


def test_nothing_to_classify_says_what_was_there(tmp_path):
    """A folder of links is not called empty."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new/1.jpg").symlink_to("/etc/hostname")
    sources = ImageSources()
    sources.add([tmp_path / "new"], ImagesConfig())
    with pytest.raises(DatasetError, match=r"No image files in .*new: 1 links are not followed, such as .*1\.jpg"):
        sources.require_any()
