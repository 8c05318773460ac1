"""What an edit did, in one sentence."""

from datetime import UTC, datetime

import pytest

pytest.importorskip("fastapi", reason="the extra `server` is not installed")

from lmm_classifier.index.build.reports import Changes, Edit
from lmm_classifier.server.pages.notices import sentence


def edit(kind="any", undoes=None, **changes):
    return Edit(2, datetime.now(UTC), kind, "", "", Changes(**changes), None, undoes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"added": ("a",)}, "1 example added"),
        ({"added": tuple(map(str, range(1234)))}, "1,234 examples added"),
        ({"removed": ("a", "b"), "added": ("c",)}, "1 example added, 2 examples removed"),
        ({"relabeled": (("a", "rose", "tulip"),)}, "1 example relabeled from rose to tulip"),
        ({"relabeled": (("a", "<b>", "{x}"),)}, "1 example relabeled from <b> to {x}"),
        ({"dismissed": 2}, "2 findings called right"),
        ({"restored": 1}, "1 finding listed again"),
        ({"replaced": ("a",), "renamed": (("a", "b"),)}, "2 examples moved or replaced"),
        ({}, "Nothing changed"),
    ],
)
def test_each_change_is_told(changes, text):
    """Counts with separators, one and many, both labels; an undo and a redo say that they are one."""
    assert sentence(edit(**changes)) == text
    assert sentence(edit("undo", 1, **changes)) == f"Undone: {text}"
    assert sentence(edit("redo", 1, **changes)) == f"Redone: {text}"


@pytest.mark.parametrize(("kind", "text"), [("build", "The index was built"), ("import", "The index was imported")])
def test_the_first_edit_is_told(kind, text):
    """Its examples are not listed in the journal; when the same is done again, nothing may change."""
    assert sentence(edit(kind)) == text


def test_the_two_largest_groups_of_labels_are_named():
    """A merge of many labels stays one sentence."""
    relabeled = [(f"{label}{number}", label, "z") for label in "abc" for number in range(ord(label) - 95)]
    text = sentence(edit(relabeled=tuple(relabeled)))
    assert text == "4 examples relabeled from c to z, 3 examples relabeled from b to z"
