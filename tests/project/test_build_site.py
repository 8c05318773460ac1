"""The site is built strictly, and a link that leads nowhere is found."""

import subprocess

import pytest
import yaml

from scripts.build_site import PAGES, stage, wrong_links
from scripts.tool_environment import REQUIREMENTS, tool_environment
from tests.helpers.paths import ROOT


@pytest.fixture
def site(tmp_path):
    """A site of two pages."""
    (tmp_path / "guide").mkdir()
    (tmp_path / "index.html").write_text('<h1 id="top">x</h1><a href="guide/a%20b.html#one">a</a><a href="#top">b</a>')
    (tmp_path / "guide/a b.html").write_text('<h2 id="one">x</h2><img src="../x.png"><a href="..">home</a>')
    (tmp_path / "x.png").touch()
    return tmp_path


def test_a_sound_site_has_no_wrong_link(site):
    """Files, anchors of this and of other pages, folders, and names with a blank; other sites are not asked."""
    (site / "404.html").write_text('<a href="/nowhere">x</a>')
    with (site / "index.html").open("a") as page:
        page.write('<a href="https://example.org/x">x</a><a href="mailto:a@example.org">y</a>')
    assert list(wrong_links(site)) == []


@pytest.mark.parametrize(
    ("element", "fault"),
    [
        ('<a href="nowhere.html">x</a>', "nowhere.html leads nowhere"),
        ('<a href="../outside.html">x</a>', "../outside.html leads nowhere"),
        ('<a href="guide/">x</a>', "guide/ leads nowhere"),
        ('<a href="#none">x</a>', "#none has no such anchor"),
        ('<a href="guide/a b.html#none">x</a>', "guide/a b.html#none has no such anchor"),
        ('<img src="none.png">', "none.png leads nowhere"),
        ('<script src="https://example.org/x.js"></script>', "fetches https://example.org/x.js"),
    ],
)
def test_a_wrong_link_is_found(site, element, fault):
    """With its page; what a browser would fetch from another site is a fault too."""
    (site.parent / "outside.html").touch()
    with (site / "index.html").open("a") as page:
        page.write(element)
    assert list(wrong_links(site)) == [f"index.html: {fault}"]


def test_pages_of_the_project_are_in_the_site(tmp_path):
    """Their links into docs/, and links of docs/ to them, fit there."""
    stage(ROOT / "docs", tmp_path / "staged")
    assert "](CONTRIBUTING.md)" in (tmp_path / "staged/index.md").read_text(encoding="utf-8")
    assert "](explanation/architecture.md)" in (tmp_path / "staged/CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "](docs/" not in "".join((tmp_path / "staged" / name).read_text(encoding="utf-8") for name in PAGES)


def test_every_page_is_in_the_navigation():
    """Each once, and none that does not exist."""

    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        return [page for inner in (entry.values() if isinstance(entry, dict) else entry) for page in pages(inner)]

    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    there = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(named) == sorted([*there, *PAGES])


@pytest.mark.parametrize("file", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda file: file.stem)
def test_tools_are_pinned(file):
    """Each line names one version."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert [line for line in lines if line.count("==") != 1] == []


@pytest.mark.long
def test_the_site_is_built_and_every_link_leads_somewhere():
    """In strict mode."""
    from scripts import build_site

    try:
        tool_environment("site")
    except subprocess.CalledProcessError:
        pytest.skip("the tools of the site cannot be installed")
    build_site.build_site()
    assert (build_site.SITE / "reference/python.html").is_file()
