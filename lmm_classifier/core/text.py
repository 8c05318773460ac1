"""Make text from outside, such as file names of any bytes, safe to show, and to paste into a shell."""

from __future__ import annotations

import shlex


def escape_unprintable(text: str) -> str:
    r"""Return text with its control characters, line breaks and lone surrogates escaped, such as `\n` or `\udce9`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def quote_for_shell(text: str) -> str:
    r"""Return text as one word of a POSIX shell, in printable characters only.

    A text with line breaks, control characters or bytes that are no UTF-8 becomes `$'...'`, which bash, zsh and ksh
    read.

    Example:
        >>> from lmm_classifier.core.text import quote_for_shell
        >>> print(quote_for_shell("it's"), quote_for_shell("two\nlines"))
        'it'"'"'s' $'two\nlines'
    """
    if text.isprintable():
        return shlex.quote(text)
    data = "".join(c if c.isprintable() and c not in "\\'" else _escaped(c) for c in text)
    return f"$'{data}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character == "\n":
        return "\\n"
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", errors))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that says something, or the name of its class."""
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message that says something, or the name of its class."""
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
