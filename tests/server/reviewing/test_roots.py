"""Only folders below a root are read, and its path is not told."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.reviewing.roots import NamedRoots


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    top = tmp_path_factory.mktemp("roots")
    (top / "in" / "a" / "b").mkdir(parents=True)
    (top / "out").mkdir()
    (top / "in" / ".hidden").mkdir()
    (top / "in" / "leads out").symlink_to(top / "out")
    (top / "gone").mkdir()
    made = NamedRoots({"in": top / "in", "deep": top / "in" / "a", "gone": top / "gone"})
    (top / "gone").rmdir()
    return made


def test_a_root_that_is_no_folder(tmp_path):
    """It is told at the start, not at the first run."""
    with pytest.raises(ConfigError, match="no folder"):
        NamedRoots({"x": tmp_path / "missing"})


def test_folders_below_a_root(roots):
    """Each is shown by the nearest root."""
    assert roots.shown(str(roots.folder("in", "")))["folder"] == "."
    assert roots.shown(str(roots.folder("in", "a/b"))) == {"kind": "folder", "root": "deep", "folder": "b"}
    assert roots.shown("/x/secret") == {"kind": "folder", "root": None, "folder": "secret"}
    assert roots.folders() == [("deep", ""), ("deep", "b"), ("gone", ""), ("in", ""), ("in", "a")]


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "leads out", "/", "\\", "~", "\udcff", "x" * 300])))
def test_nothing_leads_out(roots, parts):
    """Whatever the steps are, the folder is below its root or refused."""
    try:
        folder = roots.folder("in", "/".join(parts))
    except ProblemError:
        return
    assert Path(folder).resolve().is_relative_to(roots.roots["in"].resolve())


def test_an_archive_is_a_root(tmp_path):
    """Nothing is below it; a file that is an image by its name is no root."""
    shutil.make_archive(str(tmp_path / "new"), "zip", tmp_path)
    (tmp_path / "image.png").write_bytes(b"")
    roots = NamedRoots({"new": tmp_path / "new.zip"})
    assert roots.folder("new", "") == tmp_path / "new.zip"
    assert roots.shown(str(tmp_path / "new.zip")) == {"kind": "folder", "root": "new", "folder": "."}
    assert roots.folders() == [("new", "")]
    for inside in ("a", "..", "../other.zip", "/etc"):
        with pytest.raises(ProblemError):
            roots.folder("new", inside)
    with pytest.raises(ConfigError, match="or a .zip"):
        NamedRoots({"x": tmp_path / "image.png"})
