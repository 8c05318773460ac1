"""Read an HTML page in a test."""

from collections import defaultdict
from html.parser import HTMLParser

_VOID = {"meta", "img", "link", "br"}
_EMPTY = {"path", "rect", "circle"}  # closed by themselves in SVG


class HtmlPage(HTMLParser):
    """The start tags and the visible text of a page. Every tag must be closed, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.texts = defaultdict(list)  # tag -> the text directly inside each
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)
            self.texts[tag].append("")

    def handle_startendtag(self, tag, attrs):
        assert tag in _EMPTY
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]][-1] += data
        if "style" not in self.open:
            self.text += data

    def all(self, tag, **attributes):
        """Return the attributes of all tags of this name that have the given ones; `class_` is `class`."""
        return [
            attrs
            for name, attrs in self.tags
            if name == tag and all(attrs.get(key.strip("_")) == value for key, value in attributes.items())
        ]


def assert_harmless(text):
    """Assert that a page has no script, fetches nothing, and forbids both by its policy."""
    page = HtmlPage(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    assert "<script" not in text
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    urls = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "srcset")]
    assert all(url.startswith(("data:image/jpeg;base64,", "#")) for url in urls)
    assert "@import" not in text
    policy = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    return page
