"""The field's words stay: no banned word in an identifier or a text, and short sentences in the README."""

import re
import subprocess
from functools import cache

import pytest

from tests.helpers.paths import ROOT

LIST = ROOT / "tests/project/banned_words.txt"
# (file, text that may stand there): quotations, and names that other people gave
EXCEPTIONS = [
    ("tests/project/banned_words.txt", ""),
    ("tests/project/test_words.py", ""),
    ("tests/fixtures/tiny_qwen2_vl/", ""),
    ("LICENSE", ""),
    ("lmm_classifier/server/pages/static/htmx.", ""),
    ("lmm_classifier/server/pages/static/", "Promise"),  # the name of the language
]
BINARY = {".png", ".safetensors", ".onnx", ".jpg", ".npz", ".xz"}
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@cache
def banned():
    """Map a banned word, or a phrase as a tuple of words, to what to write instead."""
    words, phrases = {}, {}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        left, _, instead = line.partition(": ")
        if left in ("second look", "held against", "look at", "goes on", "do not bother"):
            phrases[tuple(left.split())] = instead
        else:
            words.update(dict.fromkeys(left.split(), instead))
    return words, phrases


def may_have_one(text):
    """Whether a text has a banned word, or all words of a banned phrase in whatever order."""
    words, phrases = banned()
    here = {word.lower() for word in set(WORDS.findall(text))}
    return not here.isdisjoint(words) or any(here.issuperset(phrase) for phrase in phrases)


def files():
    """Every text file of the repository that is not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout, so the files of the project cannot be told from others")
    names = sorted(set(listed.stdout.splitlines()))
    return [name for name in names if (ROOT / name).suffix not in BINARY and (ROOT / name).is_file()]


def found_in(name, text):
    """Yield `file:line: word -> replacement` for each banned word of a text."""
    words, phrases = banned()
    if not may_have_one(text):
        return
    for number, line in enumerate(text.splitlines(), 1):
        if any(name.startswith(file) and exception in line for file, exception in EXCEPTIONS):
            continue
        here = [word.lower() for word in WORDS.findall(line)]
        for word in here:
            if word in words:
                yield f"{name}:{number}: {word} -> {words[word]}"
        for phrase, instead in phrases.items():
            if any(tuple(here[at : at + len(phrase)]) == phrase for at in range(len(here))):
                yield f"{name}:{number}: {' '.join(phrase)} -> {instead}"


def test_no_banned_word():
    """Neither in names, nor in text, nor in the names of files."""
    listed = files()
    bad = [
        hit for name in listed for hit in found_in(name, (ROOT / name).read_text(encoding="utf-8", errors="replace"))
    ]
    bad += [hit for name in listed for hit in found_in(name, name)]
    assert bad == [], f"{len(bad)} banned words, the first: " + "; ".join(bad[:20])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("def read_picture(): ...", 1),
        ("class SecondLook: ...", 1),
        ('"a second  look"', 1),
        ("recommended mending", 1),
        ("imagine a shear, a choir and an outdoor scene", 0),
    ],
)
def test_the_words_are_found(text, count):
    """In identifiers and in text, but not inside other words."""
    assert len(list(found_in("x.py", text))) == count


def sentences(text):
    """The sentences of a Markdown text, without code, tables, diagrams and links."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "#", "!["))]
    text = "\n".join(lines)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "code", text)
    for paragraph in re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.)\s+", text):
        yield from (part for part in re.split(r"(?<=[.!?:])\s+", " ".join(paragraph.split())) if part)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/quickstart.md"])
def test_sentences_are_short(name):
    """No sentence over 25 words."""
    long = [text for text in sentences((ROOT / name).read_text(encoding="utf-8")) if len(text.split()) > 25]
    assert long == []
