"""Build the site of the documentation into `dist/site`, and check every link in it.

`docs/` and the pages next to it are put together in one folder. Zensical builds the site in strict mode, so a page or a
link that does not exist ends the build. Then each link, image and anchor of each built page is looked up. The site
fetches nothing from another one. Diagrams in Mermaid stay text, since drawing them would take a script from elsewhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from scripts.tool_environment import ROOT, tool_environment

PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")  # of the root of the project
STAGED = ROOT / ".venvs/site-docs"
SITE = ROOT / "dist/site"
_MAIN_PAGE = "index.html"
_OUT_OF_DOCS = re.compile(rf"\]\((?:\.\./)+({'|'.join(map(re.escape, PAGES))})")
_INTO_DOCS = re.compile(r"\]\(docs/")
_FETCHED = {"img": "src", "script": "src", "link": "href"}  # what a browser loads by itself


class PageLinks(HTMLParser):
    """Links, fetched files and anchors of one page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses of an element, and its own name."""
        values = dict(attrs)
        self.anchors |= {name for key in ("id", "name") if (name := values.get(key))}
        if tag == "a" and (address := values.get("href")):
            self.links.append(address)
        if tag in _FETCHED and (address := values.get(_FETCHED[tag])) and values.get("rel") != "canonical":
            self.fetched.append(address)


def stage(docs: Path, target: Path) -> None:
    """Put `docs` and the pages of the root into one folder, with links that fit there."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(docs, target)
    for name in PAGES:
        text = (docs.parent / name).read_text(encoding="utf-8")
        (target / name).write_text(_INTO_DOCS.sub("](", text), encoding="utf-8")
    for page in target.rglob("*.md"):
        up = "../" * (len(page.relative_to(target).parts) - 1)
        text = page.read_text(encoding="utf-8")
        page.write_text(_OUT_OF_DOCS.sub(rf"]({up}\1", text), encoding="utf-8")


def wrong_links(site: Path) -> Iterator[str]:
    """Yield a line for each address in a built site that leads nowhere, or that is fetched from elsewhere."""
    pages = {page: PageLinks(page) for page in sorted(site.rglob("*.html"))}
    for page, found in pages.items():
        name = page.relative_to(site)
        if name.name == "404.html":  # its addresses are those of the root of a server
            continue
        yield from (f"{name}: fetches {address}" for address in found.fetched if urlsplit(address).netloc)
        for address in dict.fromkeys(found.links + found.fetched):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / _MAIN_PAGE if target.is_dir() else target
            if not target.is_file() or not target.is_relative_to(site.resolve()):
                yield f"{name}: {address} leads nowhere"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name}: {address} has no such anchor"


def build_site() -> None:
    """Build and check the site; raise SystemExit with what is wrong."""
    programs = tool_environment("site")
    stage(ROOT / "docs", STAGED)
    shutil.rmtree(SITE, ignore_errors=True)
    command = [programs / "zensical", "build", "--strict", "--clean", "--config-file", ROOT / "mkdocs.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={"NO_COLOR": "1"})
    if done.returncode != 0:
        raise SystemExit(f"The site was not built:\n{done.stdout}{done.stderr}")
    if wrong := list(wrong_links(SITE)):
        raise SystemExit("\n".join(["The site has wrong links:", *wrong]))
    pages = len([*SITE.rglob("*.html")])
    print(f"{pages} pages in {SITE.relative_to(ROOT)}, all links lead somewhere")


if __name__ == "__main__":
    build_site()
