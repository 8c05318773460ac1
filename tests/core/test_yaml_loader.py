"""The YAML loader accepts plain values only."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.yaml_loader import load_yaml


def test_plain_values():
    """Nested plain values load; an empty file is an empty mapping."""
    assert load_yaml("a: 1\nb:\n  c: [x, 2.5, null]\n", "f") == {"a": 1, "b": {"c": ["x", 2.5, None]}}
    assert load_yaml("", "f") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: !!python/object/apply:os.system ['true']", "python/object"),
        ("a: !thing 1", "!thing"),
        ("a: !!int '5'", "tags are not accepted, but !!int is one"),
        ("? {a: b}\n: c", "keys must be text"),
        ("true: a", "keys must be text"),
        ("a: 1\n---\na: 2", "another document"),
        ("a: 1\na: 2", "'a' appears twice"),
        ("a:\n  b: 1\n  b: 2", "'b' appears twice"),
        ("1: a", "keys must be text"),
        ("[1, 2]: a", "keys must be text"),
        ("a: 'open", "line 1"),
        ("\tx: 1", "not plain YAML"),
    ],
)
def test_everything_else_is_refused(text, message):
    """Tags, aliases, repeated keys and broken text raise an error that names the file and the fault."""
    with pytest.raises(ConfigError) as caught:
        load_yaml(text, "some.yaml")
    assert message in str(caught.value)
    assert "some.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *((word, word) for word in ("off", "on", "yes", "no", "y", "n", "Off", "NO", "12:30", "1:2:3", "1_000")),
        *((word, word) for word in ("2024-01-01", "2024-01-01 12:00:00", "0b1", "=", "<<", "nULL", "tRUE", "1e", "0x")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("null", "Null", "NULL", "~", "")),
        *(("010", 10), ("08", 8), ("0o17", 15), ("0x1F", 31), ("-7", -7), ("+7", 7)),
        *(("1e-3", 0.001), ("1E5", 1e5), (".5", 0.5), ("1.", 1.0), ("-.5e2", -50.0)),
        *((".inf", math.inf), ("-.INF", -math.inf)),
        *(("'off'", "off"), ('"1"', "1"), ("'null'", "null")),
    ],
)
def test_words_follow_the_core_schema_of_yaml_1_2(word, value):
    """Booleans, nulls and numbers of YAML 1.1 alone are words: no setting changes its meaning with the reader."""
    loaded = load_yaml(f"a: {word}", "f")["a"]
    assert loaded == value
    assert type(loaded) is type(value)


def test_text_counts_as_it_is_written_where_only_text_can_stand():
    """The caller says where; quoted text is text everywhere, and an empty value is none."""
    text = "names: [no, 010, 0x10, 2024-01-01, true, null, ~, 1e3]\nother: 010\nempty:\n"
    loaded = load_yaml(text, "f", lambda keys, _: keys in {("names", "*"), ("empty",)})
    assert loaded["names"] == ["no", "010", "0x10", "2024-01-01", "true", "null", "~", "1e3"]
    assert loaded["other"] == 10
    assert loaded["empty"] is None


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_gives_a_mapping_or_a_config_error(text):
    """No text raises another error."""
    try:
        assert isinstance(load_yaml(text, "f"), dict)
    except ConfigError:
        pass
