"""The configuration: defaults are complete, and everything unknown or wrong is refused by name."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError, LmmClassifierError
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    "values",
    [{"labels": ["a", "unknown"]}, {"labels": ["a", "Unknown"]}, {"labels": ["a"], "unknown_label": "A "}],
)
def test_the_label_of_unknown_images_is_no_label(values):
    """In whatever order and case the two are set; the former values stay."""
    with pytest.raises(ConfigError, match="cannot be told from unknown_label"):
        PipelineConfig(**values)
    config = PipelineConfig()
    with pytest.raises(ConfigError, match="cannot be told from unknown_label"):
        for key, value in values.items():
            setattr(config, key, value)
    assert config.unknown_label == "unknown"
    with pytest.raises(ConfigError, match="is no label"):
        config.unknown_label = " "


def test_labels_are_in_one_normal_form():
    """Another Unicode form of a label is that label, so it is named twice."""
    assert PipelineConfig(labels=["cafe\u0301"]).labels == ["caf\u00e9"]
    with pytest.raises(ConfigError, match="more than once"):
        PipelineConfig(labels=["cafe\u0301", "caf\u00e9"])


def test_default_yaml_equals_the_defaults_of_the_model():
    """config/default.yaml has every key of the model, with its default."""
    assert PipelineConfig.from_yaml(ROOT / "config/default.yaml") == PipelineConfig()
    written = yaml.safe_load((ROOT / "config/default.yaml").read_text(encoding="utf-8"))
    assert written == PipelineConfig().model_dump(mode="json")


def test_offline_yaml_equals_the_offline_configuration():
    """config/offline.yaml is PipelineConfig.offline()."""
    assert PipelineConfig.from_yaml(ROOT / "config/offline.yaml") == PipelineConfig.offline()
    assert PipelineConfig.offline().encoder.backend == "descriptor"
    assert PipelineConfig.offline().rerank.backend == "views"


def test_documented_keys_and_defaults():
    """The names that must keep working have their documented defaults."""
    config = PipelineConfig()
    assert config.encoder.model == "google/siglip-so400m-patch14-384"
    assert config.rerank.model_name == "Qwen/Qwen2-VL-7B-Instruct"
    assert config.rerank.enabled is True
    assert config.labels is None
    assert config.allow_unknown is True
    assert config.retrieval.index_path == Path("index")
    assert config.retrieval.confidence_threshold is None  # the index's own, or a default
    assert "{options}" in config.rerank.prompt_template


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("retrieval:\n  confidance_threshold: 0.5", "'retrieval.confidance_threshold': did you mean 'retrieval.confi"),
        ("confidence_threshold: 0.5", "did you mean 'retrieval.confidence_threshold'"),
        ("zzz: 1", "unknown key 'zzz': expected one of labels"),
        ("retrieval:\n  k: many", "retrieval.k: expected a valid integer, got 'many'"),
        ("retrieval:\n  k: 2.5", "retrieval.k"),
        ("retrieval:\n  k: true", "retrieval.k"),
        ("retrieval:\n  k: 0", "retrieval.k"),
        ("retrieval:\n  temperature: 1e-3", "YAML reads 1e-3 as text"),
        ("retrieval:\n  confidence_threshold: 1.5", "retrieval.confidence_threshold"),
        ("retrieval:\n  open_set_threshold: .nan", "retrieval.open_set_threshold"),
        ("retrieval: 3", "retrieval"),
        ("allow_unknown: 'yes'", "allow_unknown"),
        ("labels: [a, no]", "labels.1: expected a valid string, got False"),
        ("labels: [a, a]", "'a' more than once"),
        ("labels: []", "at least one label"),
        ("encoder:\n  backend: clip", "expected 'siglip', 'openvino', 'onnx' or 'descriptor', got 'clip'"),
        ("rerank:\n  prompt_template: 'Which?'", "{options} is missing"),
        ("rerank:\n  prompt_template: '{options} {labels}'", "'{labels}' is not a placeholder"),
        ("rerank:\n  prompt_template: '{options} {options}'", "only once"),
        ("rerank:\n  prompt_template: '{options} <|im_end|>'", "control token"),
        ("rerank:\n  prompt:\n    min_visual_tokens: 999\n    max_visual_tokens: 10", "must not exceed"),
        ("- a\n- b", "expected `key: value` lines"),
        ("a: [", "not plain YAML"),
    ],
)
def test_wrong_settings_are_refused_by_name(tmp_path, text, message):
    """The error names the file and the path of the key, and says what to do."""
    file = tmp_path / "wrong.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        PipelineConfig.from_yaml(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_missing_file_is_a_config_error(tmp_path):
    """A file that does not exist is named."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        PipelineConfig.from_yaml(tmp_path / "nowhere.yaml")


def test_assignments_are_checked():
    """Assignment is as strict as reading, and a refused value changes nothing, also where two settings disagree."""
    config = PipelineConfig()
    config.retrieval.k = 7
    assert config.retrieval.k == 7
    with pytest.raises(ConfigError, match="k: expected a valid integer"):
        config.retrieval.k = "seven"
    with pytest.raises(ConfigError, match="did you mean 'k'"):
        config.retrieval.kk = 3
    assert config.retrieval.k == 7
    with pytest.raises(ConfigError, match="must not exceed"):
        config.rerank.prompt.min_visual_tokens = config.rerank.prompt.max_visual_tokens + 1
    assert config.rerank.prompt == PipelineConfig().rerank.prompt
    with pytest.raises(ConfigError, match="did you mean 'labels'"):
        PipelineConfig(label=["a"])


def test_set_changes_one_setting():
    """`set` reads KEY=VALUE, whose value is YAML; an error names the key and no flag of the command line."""
    config = PipelineConfig()
    config.set("retrieval.k=3")
    config.set("labels=[a, b]")
    config.set("allow_unknown=false")
    config.set("retrieval.index_path=other.npz")
    assert (config.retrieval.k, config.labels, config.allow_unknown) == (3, ["a", "b"], False)
    assert config.retrieval.index_path == Path("other.npz")
    for wrong, message in [
        ("retrieval.k", "Expected KEY=VALUE"),
        ("retrieval.kk=1", "did you mean 'retrieval.k'"),
        ("retrival.k=1", "did you mean 'retrieval'"),
        ("labels.x=1", "unknown key"),
        ("retrieval.k=[", "not plain YAML"),
        ("retrieval.k=x", "expected a valid integer"),
    ]:
        with pytest.raises(ConfigError, match="(?s).*") as caught:
            config.set(wrong)
        assert message in str(caught.value), wrong
        assert "--" not in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_any_yaml_value_is_read_or_refused(value):
    """Any value gives a configuration or one typed error."""
    if not isinstance(value, dict):
        value = {"retrieval": value}
    try:
        PipelineConfig(**value)
    except LmmClassifierError as error:
        assert str(error)


@pytest.mark.parametrize("key", ["rerank.cache", "retrieval.zero_shot_text", "images.decode_in_subprocess"])
def test_a_bare_off_is_the_word_off(key):
    """YAML reads `off` as false; where `off` is a value, both mean it."""
    config = PipelineConfig()
    config.set(f"{key}=off")
    section, _, name = key.partition(".")
    assert getattr(getattr(config, section), name) == "off"
