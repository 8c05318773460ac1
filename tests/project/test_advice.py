"""Settings that messages and documents advise can be used as they are printed."""

import ast
import re
from collections import defaultdict

import pytest
import yaml

from lmm_classifier.config import PipelineConfig
from tests.helpers.paths import ROOT
from tests.helpers.syntax import mentioning, nodes

_SECTIONS = "|".join(name for name in PipelineConfig.model_fields if name != "labels")
# a key with its section and one word, as in "set encoder.backend: descriptor" or "--set images.max_pixels=100000000"
_ADVICE = re.compile(rf"\b((?:{_SECTIONS})\.[a-z_.0-9]*[a-z_0-9])(: |=)([^\s`'\",;()\\{{}}]+)")
# the end of the key in a module, or a quote where the text continues in the next line
_IN_MODULE = rf"\b(?:{_SECTIONS})\.[a-z_.0-9]*(: |=|[\"'])"


def _texts(path):
    """The literals of a module, f-strings with their values left out, or a page as a whole."""
    if path.suffix == ".md":
        yield path.read_text(encoding="utf-8")
        return
    for node in nodes(path):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _advised():
    """Every advised setting with the file that advises it."""
    files = [
        *mentioning(_IN_MODULE, ROOT.glob("lmm_classifier/**/*.py")),
        *ROOT.glob("docs/**/*.md"),
        ROOT / "README.md",
    ]
    for path in sorted(files):
        for text in _texts(path):
            for key, sign, word in _ADVICE.findall(text):
                yield path, f"{key}{sign}{word.rstrip('.')}"


_WRONG = {"retrieval.k=many"}  # the example of an error


@pytest.fixture(scope="module")
def advised():
    """The files that advise each setting."""
    files = defaultdict(set)
    for path, setting in _advised():
        if setting not in _WRONG:
            files[setting].add(str(path.relative_to(ROOT)))
    return files


def test_settings_are_advised(advised):
    """The search finds the advice that it is to check."""
    assert len(advised) > 10
    assert any("retrieval.zero_shot_text: off" in setting for setting in advised)


def test_advice_works_as_it_is_printed(advised, tmp_path):
    """An advised line is a setting on the command line and, with a colon, a line of a file, and means its word."""
    for setting, files in sorted(advised.items()):
        try:
            check(setting, tmp_path)
        except Exception as error:
            raise AssertionError(f"{setting} in {', '.join(sorted(files))}") from error


def check(setting, tmp_path):
    key, word = re.split(r": |=", setting, maxsplit=1)
    is_numbered = any(step.isdecimal() for step in key.split("."))  # of one of several encoders
    config = PipelineConfig(encoder=[{}, {"backend": "descriptor"}]) if is_numbered else PipelineConfig()
    config.set(setting)
    value = config
    for step in key.split("."):
        value = value[int(step)] if step.isdecimal() else getattr(value, step)
    assert str(value) == word or value == yaml.safe_load(word)
    if is_numbered:  # a key of the command line; a file has the list itself
        assert ": " not in setting
        return
    (tmp_path / "own.yaml").write_text(f"{key}: {word}\n", encoding="utf-8")
    assert PipelineConfig.from_yaml(tmp_path / "own.yaml").model_dump() == config.model_dump()
