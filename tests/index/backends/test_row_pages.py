"""Pages in files: whole or missing, and bounded in size."""

import os

from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.index.backends.row_pages import RowPages


@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=50), max_size=5))
def test_a_page_is_what_was_put(tmp_path_factory, contents):
    """Whatever its name; another process finds it too."""
    pages = RowPages(tmp_path_factory.mktemp("pages"))
    for name, content in contents.items():
        pages.put(name, content)
    again = RowPages(pages.folder)
    assert {name: again.get(name) for name in contents} == contents


def test_a_page_that_was_never_put_is_missing(tmp_path):
    """So is every page of a folder that is not there."""
    assert RowPages(tmp_path / "nowhere").get("page") is None


def test_a_damaged_page_is_missing(tmp_path, caplog):
    """Whichever byte it is, and cut off anywhere; then it can be put again."""
    pages = RowPages(tmp_path)
    pages.put("page", b"content")
    (path,) = (file for file in tmp_path.rglob("*") if file.is_file())
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert pages.get("page") is None
        path.write_bytes(whole[:place])
        assert pages.get("page") is None
    assert "is damaged" in caplog.text
    pages.put("page", b"content")
    assert pages.get("page") == b"content"


def test_pages_that_were_not_used_for_the_longest_time_are_removed(tmp_path):
    """Until all fit; what was read stays."""
    pages = RowPages(tmp_path, most=10 * 108)
    for number in range(10):
        pages.put(str(number), bytes(100))
        (path,) = (file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_mtime > 1e6)
        os.utime(path, (number, number))
    assert pages.get("0") is not None
    pages.put("10", bytes(100))
    there = [number for number in range(11) if RowPages(tmp_path).get(str(number)) is not None]
    assert there == [0, *range(2, 11)]
