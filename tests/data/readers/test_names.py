"""Names from elsewhere never lead out of their root."""

import os

from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.data.readers.names import case_warnings, member_id, why_no_image

PARTS = st.sampled_from(["..", ".", "", "a", "C:", "\\", "..\\", "\0", "\udcff", "\u202e", ".added", "x.png", " "])


@given(st.lists(st.one_of(PARTS, st.text(max_size=3)), max_size=6), st.sampled_from(["/", "\\"]))
def test_an_id_stays_below_its_root(parts, separator):
    """Joined to a folder it is in the folder, on POSIX and for programs that take backslashes for separators."""
    path = member_id(separator.join(parts))
    if path is None:
        return
    for text in (path, path.replace("\\", "/")):
        assert f"{os.path.normpath(f'/root/{text}')}/".startswith("/root/")
    assert not path.startswith((".added/", "/"))
    assert "\0" not in path
    assert member_id(path) == path


def test_members_follow_the_rules_for_folders():
    """Hidden files, those of systems and other formats are no images."""
    assert why_no_image("a/1.JPG") is None
    assert why_no_image("a/._1.jpg") == ("hidden", "ignored")
    assert why_no_image("@eaDir/1.jpg")[1] == "ignored"
    assert why_no_image("a/1.psd")[1] == "unsupported"


def test_names_alike_but_for_case():
    """One warning for all."""
    assert case_warnings(["a", "b"]) == []
    assert len(case_warnings(["A", "a", "B", "b"])) == 1
