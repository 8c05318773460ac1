"""Gives the package its README and its addresses, as readers of a package index need them.

A package index shows the README alone, so links to files of the repository must be absolute. The build is told the
repository by `SOURCE_REPOSITORY_URL`, such as `https://example.org/owner/lmm_classifier`; a release workflow knows it.
Without the variable no address is invented: the texts of such links stay, and their images are left out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hatchling.metadata.plugin.interface import MetadataHookInterface

VARIABLE = "SOURCE_REPOSITORY_URL"
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?:|#|mailto:)(?P<target>[^)\s]+)\)")
_DIAGRAM = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
_CODE = re.compile(r"(```.*?```)", re.DOTALL)
_NODE = re.compile(r'\w+\["(.+?)<br>(.+?)"\]')
_PROJECT = "lmm-classifier"


class ReadmeHook(MetadataHookInterface):
    """Sets the dynamic fields `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Change the metadata in place."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = repository_url(os.environ.get(VARIABLE, ""))
        release = f"v{version(Path(self.root))}"
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": readme(text, repository, release),
        }
        metadata["urls"] = {} if repository is None else urls(repository, release)


def repository_url(given: str) -> str | None:
    """Return the address without a slash at its end, None for an empty text.

    Raises:
        ValueError: it is no plain https address.
    """
    if not given.strip():
        return None
    parts = urlsplit(given.strip())
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"{VARIABLE}: expected an address such as https://example.org/owner/name, got {given!r}")
    return given.strip().rstrip("/").removesuffix(".git")


def version(root: Path) -> str:
    """Return the version that the package states."""
    source = (root / "lmm_classifier" / "__init__.py").read_text(encoding="utf-8")
    (found,) = re.findall(r'^__version__ = "([^"]+)"', source, flags=re.MULTILINE)
    return str(found)


def urls(repository: str, release: str) -> dict[str, str]:
    """Return the addresses of the project that follow from that of its repository."""
    files = f"{repository}/blob/{release}"
    return {
        "Repository": repository,
        "Documentation": f"{files}/docs/index.md",
        "Changelog": f"{files}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


def readme(text: str, repository: str | None, release: str) -> str:
    """Return the README for a package index: links absolute or absent, no diagram, and commands for the package."""

    def link(found: re.Match[str]) -> str:
        if repository is None:
            return "" if found["image"] else found["text"]
        kind = "raw" if found["image"] else "blob"
        return f"{found['image']}[{found['text']}]({repository}/{kind}/{release}/{found['target']})"

    def diagram(found: re.Match[str]) -> str:
        nodes = _NODE.findall(found[1])
        return "\n".join(f"{number}. **{name}**: {meaning}" for number, (name, meaning) in enumerate(nodes, 1))

    parts = _CODE.split(_DIAGRAM.sub(diagram, text))  # every second part is code
    text = "".join(part if number % 2 else _LINK.sub(link, part) for number, part in enumerate(parts))
    text = re.sub(r"'\.\[([\w,-]+)\]'", rf"'{_PROJECT}[\1]'", text)
    text = re.sub(r"\bpip install \.(?=[`\s])", f"pip install {_PROJECT}", text)
    return re.sub(r"# in a checkout; ", "# ", re.sub(r"\n{3,}", "\n\n", text))
