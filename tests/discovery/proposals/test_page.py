"""The page of a discovery shows each group with its images."""

import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.discovery.proposals.discover import discover
from lmm_classifier.discovery.proposals.page import write_discovery_page
from tests.discovery.vector_images import classifier_of, images_of


def test_every_group_is_shown(drawn, tmp_path):
    """With images inside the page, and what it resembles."""
    found = discover(drawn.new, drawn.classifier, groups=2)
    write_discovery_page(tmp_path / "page.html", found)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert found.groups
    for group in found.groups:
        assert f"Group {group.number}: {len(group.members)} images" in page
        assert f"a look of {group.nearest_label}?" in page
    shown = sum(len(group.shown) for group in (*found.groups, *found.tested_groups)) + len(found.remainder)
    assert page.count("data:image/jpeg") == shown
    assert "purity" not in page.lower()


def test_vectors_have_no_page(tmp_path):
    """There is no image to show."""
    with classifier_of() as classifier:
        found = discover(images_of(classifier, {"a": 5})[0], classifier)
    with pytest.raises(OutputError, match="only vectors"):
        write_discovery_page(tmp_path / "page.html", found)
