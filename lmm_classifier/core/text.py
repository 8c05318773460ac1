"""Make text from outside, such as file names of any bytes, safe to show."""

from __future__ import annotations


def escape_unprintable(text: str) -> str:
    r"""Return text with its control characters, line breaks and lone surrogates escaped, such as `\n` or `\udce9`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
