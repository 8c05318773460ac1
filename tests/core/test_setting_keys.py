"""The model of the settings says where only text can stand, and which keys are sections."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.setting_keys import is_text, with_sections


class Inner(BaseModel):
    word: Literal["auto", "off"] = "auto"
    headers: dict[str, str] = {}
    body: dict[str, Any] = {}


class Outer(BaseModel):
    inner: Inner = Inner()
    text: Annotated[str, Field(min_length=1)] = "x"
    texts: list[str] | None = None
    one_or_more: str | list[str] = "x"
    path: Annotated[Path, Field(strict=False)] | None = None
    switch: bool | Literal["auto"] = "auto"
    count: int | None = None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("text", True),
        ("path", True),
        ("texts", False),
        ("texts.*", True),
        ("one_or_more", True),
        ("one_or_more.*", True),
        ("switch", False),
        ("count", False),
        ("inner", False),
        ("inner.word", True),
        ("inner.headers.X-Key", True),
        ("inner.body.enable_thinking", False),
        ("no.such.key", False),
    ],
)
def test_where_only_text_can_stand(keys, expected):
    """Lists, mappings and unions are looked into; where a number or a boolean may stand, the word decides."""
    assert is_text(Outer, keys.split("."), "010") is expected


def test_null_is_text_only_where_nothing_else_is_possible():
    """A setting that may be null reads `null` as that."""
    assert is_text(Outer, ["text"], "null")
    assert is_text(Outer, ["texts", "*"], "~")
    assert not is_text(Outer, ["path"], "null")


def test_a_key_may_name_its_section():
    """Keys of both ways are joined; keys of a mapping that is no section keep their dots."""
    values = {"inner.word": "off", "inner": {"headers": {"a.b": "c"}}, "text": "y", "other.x": 1}
    expected = {"inner": {"word": "off", "headers": {"a.b": "c"}}, "text": "y", "other.x": 1}
    assert with_sections(Outer, values) == expected
    assert with_sections(Outer, {"inner": None, "texts": None}) == {"texts": None}


@pytest.mark.parametrize(
    "values",
    [
        {"inner.word": "off", "inner": {"word": "auto"}},
        {"inner": {"word": "auto"}, "inner.word": "off"},
        {"inner": 3, "inner.word": "off"},
        {"inner.word": "off", "inner": 3},
    ],
)
def test_a_value_in_both_ways_is_refused(values):
    """One of them would be lost."""
    with pytest.raises(ConfigError, match=r"^inner(\.word)? is given twice$"):
        with_sections(Outer, values)
