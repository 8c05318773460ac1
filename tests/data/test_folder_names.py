"""Each label has a folder of its own, whose name every file system takes and every search for images enters."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmm_classifier.data.folder_names import folder_name
from lmm_classifier.data.ignored_names import is_ignored_folder

LABELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.text(
    st.sampled_from('./\\:%.~ aA"CON1'), min_size=1
)


@pytest.mark.parametrize("label", ["tulip", "polka dots", "café", "日本", "a.b", "100", "x" * 200, "unknown", "-v"])
def test_an_ordinary_label_is_its_own_name(label):
    """So that a folder of sorted images is a dataset with the same labels."""
    assert folder_name(label) == label


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("..", "%2E%2E"),
        ("a/b", "a%2Fb"),
        ("a:b", "a%3Ab"),
        ("CON", "%43ON"),
        ("nul.txt", "%6Eul.txt"),
        (".git", "%2Egit"),
        ("50%", "50%25"),
        ("end.", "end%2E"),
        ("end ", "end%20"),
        ("__MACOSX", "%5F_MACOSX"),
        ("a\nb", "a%0Ab"),
    ],
)
def test_an_unsafe_label_is_escaped(label, name):
    """`%` and two digits stand for a character."""
    assert folder_name(label) == name


@given(labels=st.lists(LABELS, min_size=2, max_size=2, unique=True))
@example(labels=["0" * 201, "0"])
def test_two_labels_never_share_a_name(labels):
    """Also where both are escaped or shortened; a shortened name has a digest already."""
    first, second = map(folder_name, labels)
    assert first != second
    distinct = [folder_name(label, distinct=True) for label in labels]
    assert distinct[0] != distinct[1]
    assert distinct[0] != first or "%~" in first


@given(label=LABELS)
def test_a_name_is_safe(label):
    """It stays in its folder, is short enough, and is not hidden."""
    for name in (folder_name(label), folder_name(label, distinct=True), folder_name(label * 50)):
        assert 0 < len(os.fsencode(name)) <= 200
        assert not set(name) & set('/\\:*?"<>|\0')
        assert name[-1] not in ". "
        assert not is_ignored_folder(name)
