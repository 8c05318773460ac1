"""The YAML loader accepts plain values only."""

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
        ("a: 1\na: 2", "'a' appears twice"),
        ("a:\n  b: 1\n  b: 2", "'b' appears twice"),
        ("1: a", "keys must be text"),
        ("[1, 2]: a", "not plain YAML"),
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


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_gives_a_mapping_or_a_config_error(text):
    """No text raises another error."""
    try:
        assert isinstance(load_yaml(text, "f"), dict)
    except ConfigError:
        pass
