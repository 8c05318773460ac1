"""YAML is read as plain values only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.yaml_loader import read_yaml


def test_plain_values():
    """Nested plain values are read; an empty file is an empty mapping."""
    assert read_yaml("a: 1\nb:\n  c: [x, 2.5, null]\n", "f") == {"a": 1, "b": {"c": ["x", 2.5, None]}}
    assert read_yaml("", "f") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: !!python/object/apply:os.system ['true']", "python/object"),
        ("a: !thing 1", "!thing"),
        ("a: 1\na: 2", "'a' stands twice"),
        ("a:\n  b: 1\n  b: 2", "'b' stands twice"),
        ("1: a", "keys must be text"),
        ("[1, 2]: a", "not plain YAML"),
        ("a: 'open", "line 1"),
        ("\tx: 1", "not plain YAML"),
    ],
)
def test_everything_else_is_refused(text, said):
    """Tags, aliases, repeated keys and broken text are refused with the place."""
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, "some.yaml")
    assert said in str(caught.value)
    assert "some.yaml" in str(caught.value)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_gives_a_mapping_or_a_config_error(text):
    """No text makes the reader fail otherwise."""
    try:
        assert isinstance(read_yaml(text, "f"), dict)
    except ConfigError:
        pass
