"""The configuration: defaults are complete, and everything unknown or wrong is refused by name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.config import PipelineConfig, preset_names
from lmm_classifier.core.errors import ConfigError, LmmClassifierError
from lmm_classifier.core.settings import Settings
from lmm_classifier.core.yaml_loader import load_yaml
from tests.helpers.paths import ROOT

PRESETS = ROOT / "lmm_classifier" / "presets"


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


def test_the_preset_default_has_every_key_with_its_default():
    """A default path stands there as a comment: in a file it would start at the folder of the file."""
    text = (PRESETS / "default.yaml").read_text(encoding="utf-8")
    assert PipelineConfig.preset("default") == PipelineConfig()
    assert PipelineConfig.from_yaml(PRESETS / "default.yaml") == PipelineConfig()
    assert "  # index_path: index\n" in text
    values = load_yaml(text.replace("# index_path", "index_path"), "default.yaml")
    assert values == PipelineConfig().model_dump(mode="json")


def test_the_preset_offline_needs_no_download():
    """It is `PipelineConfig.offline()`, by its name and as a file."""
    assert preset_names() == ["cascade", "default", "fused", "lite", "offline", "vectors"]
    config = PipelineConfig.preset("offline")
    assert (config.encoder.backend, config.rerank.backend) == ("descriptor", "views")
    assert PipelineConfig.offline() == config
    assert PipelineConfig.from_yaml(PRESETS / "offline.yaml") == config


def test_an_unknown_preset_is_refused_with_the_names():
    """A misspelt name is answered by the most similar; a file that does not exist too."""
    with pytest.raises(
        ConfigError,
        match=r"no preset 'ofline'. Presets: cascade, default, fused, lite, offline, vectors. Did you mean 'offline'",
    ):
        PipelineConfig.preset("ofline")
    with pytest.raises(ConfigError, match=r"Cannot read the configuration defaultt.*Did you mean 'default'"):
        PipelineConfig.from_yaml("defaultt")


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
        ("retrieval:\n  confidence_threshold: 1.5", "retrieval.confidence_threshold"),
        ("retrieval:\n  open_set_threshold: .nan", "retrieval.open_set_threshold"),
        ("retrieval: 3", "retrieval"),
        ("allow_unknown: 'yes'", "allow_unknown"),
        ("labels: [a, [no]]", "labels.1: expected a valid string, got ['no']"),
        ("allow_unknown: off", "expected a valid boolean, got 'off' (write true or false)"),
        ("unknown_label:", "unknown_label: expected a valid string, got None"),
        ("rerank.cachee: off", "unknown key 'rerank.cachee': did you mean 'rerank.cache'?"),
        ("rerank.cache: off\nrerank: {cache: auto}", "rerank.cache is given twice"),
        ("rerank.cache: off\nrerank: 3", "rerank is given twice"),
        ("labels: [a, a]", "'a' more than once"),
        ("labels: []", "at least one label"),
        (
            "encoder:\n  backend: clip",
            "expected 'transformers', 'siglip', 'openvino', 'onnx', 'lite', 'descriptor' or 'vectors', got 'clip'",
        ),
        ("rerank:\n  prompt_template: 'Which?'", "{options} is missing"),
        ("rerank:\n  prompt_template: '{options} {labels}'", "'{labels}' is not a placeholder"),
        ("rerank:\n  prompt_template: '{options} {options}'", "only once"),
        ("rerank:\n  prompt_template: '{options} <|im_end|>'", "control token"),
        ("rerank:\n  prompt:\n    min_visual_tokens: 999\n    max_visual_tokens: 10", "must not exceed"),
        ("- a\n- b", "expected `key: value` lines"),
        ("a: [", "not plain YAML"),
        ("rerank.backend: none", "got 'none' (to switch it off, set enabled: false instead)"),
        ("rerank:\n  backend:", "got None (to switch it off, set enabled: false instead)"),
        ("encoder: lite", "encoder: expected keys such as backend, model, pooling, got 'lite' (write backend: lite)"),
        ("encoder: [descriptor, lite]", "encoder.1: expected keys such as backend, model, pooling, got 'lite' (write"),
        ("rerank: views", "got 'views' (write backend: views)"),
        ("rerank.server: views", "rerank.server: expected keys such as base_url, api_key_env"),
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
@pytest.mark.parametrize("quote", ["", "'"])
def test_a_bare_off_is_the_word_off(tmp_path, key, quote):
    """In a file, in a section or with its whole key, and by `set`."""
    section, _, name = key.partition(".")
    word = f"{quote}off{quote}"
    configs = [PipelineConfig(), PipelineConfig()]
    configs[0].set(f"{key}={word}")
    configs[1].set(f"{key}: {word}")
    for text in (f"{section}:\n  {name}: {word}\n", f"{key}: {word}\n"):
        (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
        configs.append(PipelineConfig.from_yaml(tmp_path / "own.yaml"))
    assert [getattr(getattr(config, section), name) for config in configs] == ["off"] * 4


def test_words_that_could_be_something_else_are_text_where_text_is_expected(tmp_path):
    """Labels, names and revisions count as written, and null stays null where a setting may be null."""
    words = ["no", "on", "010", "0x10", "2024-01-01", "12:30", "true", "null", "~", "1e3", "1.10"]
    text = f"labels: [{', '.join(words)}]\nunknown_label: off\nencoder: {{revision: 1e10, model: 0123}}\n"
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    config = PipelineConfig.from_yaml(tmp_path / "own.yaml")
    config.set("rerank.model.revision=00123456")
    assert config.labels == words
    assert (config.unknown_label, config.encoder.revision, config.encoder.model) == ("off", "1e10", "0123")
    assert config.rerank.model.revision == "00123456"
    config.set("rerank.model.revision=null")
    config.set("labels=[no, 1]")
    assert config.rerank.model.revision is None
    assert config.labels == ["no", "1"]
    config.set("labels=null")
    config.set("retrieval.power_normalize=true")
    config.set("retrieval.temperature=1e-3")
    assert (config.labels, config.retrieval.power_normalize, config.retrieval.temperature) == (None, True, 0.001)


def test_a_section_of_comments_is_no_section(tmp_path):
    """The keys of a section may all be commented out."""
    (tmp_path / "own.yaml").write_text("encoder:\n  # model: x\nretrieval:\n", encoding="utf-8")
    assert PipelineConfig.from_yaml(tmp_path / "own.yaml") == PipelineConfig()


def test_set_reads_one_value(tmp_path):
    """More lines or documents are refused, and text that is no YAML gets the advice to quote it."""
    config = PipelineConfig()
    for wrong in ("retrieval.k=3\nlabels: [a]", "retrieval.k=3\n---\n4"):
        with pytest.raises(ConfigError, match="not plain YAML"):
            config.set(wrong)
    with pytest.raises(ConfigError, match="Put the text in quotes"):
        config.set("rerank.prompt_template={options}: which?")
    config.set("rerank.prompt_template='{options}: which?'")
    assert config.rerank.prompt_template == "{options}: which?"
    assert config.retrieval.k == PipelineConfig().retrieval.k


def _paths(section, prefix=""):
    """The keys of all settings that are paths."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Settings):
            yield from _paths(value, f"{prefix}{name}.")
        elif "Path" in str(field.annotation):
            yield f"{prefix}{name}"


def _value(config, key):
    for step in key.split("."):
        config = getattr(config, step)
    if isinstance(config, dict):  # of names to paths
        return config["here"]
    return config[0] if isinstance(config, list) else config  # one path is a list of one


def _written(key, path):
    """Return a path as it is written for a key."""
    return f"{{here: {path}}}" if key == "server.roots" else path


PATHS = [*_paths(PipelineConfig()), "encoder.model"]


@pytest.mark.parametrize("key", PATHS)
def test_a_relative_path_starts_at_the_folder_of_its_file(key, tmp_path, monkeypatch):
    """In a file; by `set` it starts where the program runs. `~` is the home folder in both, and never a folder `~`."""
    (tmp_path / "settings" / "place").mkdir(parents=True)
    file = tmp_path / "settings" / "own.yaml"
    file.write_text(f"{key}: {_written(key, 'place')}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    expected = tmp_path / "settings" / "place"
    assert str(_value(PipelineConfig.from_yaml("settings/own.yaml"), key)) == str(expected)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file.write_text(f"{key}: {_written(key, '~/place')}\n", encoding="utf-8")
    config = PipelineConfig()
    config.set(f"{key}={_written(key, 'place')}")
    assert str(_value(config, key)) == "place"
    config.set(f"{key}={_written(key, '~/place')}")
    for written in (config, PipelineConfig.from_yaml(file)):
        assert str(_value(written, key)) == str(tmp_path / "home" / "place")


def test_names_of_models_are_not_taken_for_paths(tmp_path):
    """A name on the hub and the name of a server's model stay; a path next to the file is one."""
    (tmp_path / "tiny").mkdir()
    file = tmp_path / "own.yaml"
    for backend, name, expected in [
        ("qwen2_vl", "tiny", str(tmp_path / "tiny")),
        ("vlm", "./other", str(tmp_path / "other")),
        ("qwen2_vl", "Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen2-VL-2B-Instruct"),
        ("openai_api", "tiny", "tiny"),
        ("openai_api", "./models/qwen.gguf", "./models/qwen.gguf"),
    ]:
        file.write_text(f"rerank: {{backend: {backend}, model_name: {name}}}\n", encoding="utf-8")
        assert PipelineConfig.from_yaml(file).rerank.model_name == expected
    file.write_text("encoder: {model: google/siglip-base-patch16-224}\n", encoding="utf-8")
    assert PipelineConfig.from_yaml(file).encoder.model == "google/siglip-base-patch16-224"


def test_another_name_of_a_backend_is_the_same_backend(tmp_path):
    """A configuration by the former name equals one by the present name, however it is written."""
    (tmp_path / "own.yaml").write_text("rerank: {backend: qwen2_vl}\n", encoding="utf-8")
    config = PipelineConfig()
    config.set("rerank.backend=qwen2_vl")
    for written in (PipelineConfig.from_yaml(tmp_path / "own.yaml"), config):
        assert written == PipelineConfig(rerank={"backend": "vlm"}) == PipelineConfig()
        assert written.rerank.backend == "vlm"


@pytest.mark.parametrize("key", PATHS)
def test_an_unknown_home_folder_is_a_clear_error(key, monkeypatch):
    """Without HOME and without an account, `~` is refused by name, and nothing else fails."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", _no_account)  # as in a container whose user has no account
    config = PipelineConfig()
    with pytest.raises(
        ConfigError, match=rf"{key.rpartition('.')[2]}(\.0|\.here)?: The home folder in '~/x' is unknown. Set HOME"
    ):
        config.set(f"{key}={_written(key, '~/x')}")
    config.set(f"{key}={_written(key, 'x')}")


def _no_account(uid):
    raise KeyError(uid)


BOTH = [{"backend": "descriptor"}, {"backend": "descriptor", "view": "center 0.5"}]


def test_one_encoder_or_several():
    """`encoders` lists them either way; the number of images in a batch is that of the first."""
    one, several = PipelineConfig(encoder=BOTH[1]), PipelineConfig(encoder=[{**BOTH[0], "batch_size": 3}, BOTH[1]])
    assert [encoder.view for encoder in one.encoders] == ["center 0.5"]
    assert [encoder.view for encoder in several.encoders] == [None, "center 0.5"]
    assert several.batch_size == 3
    assert PipelineConfig(**several.model_dump()).model_dump() == several.model_dump()
    assert [encoder.backend for encoder in PipelineConfig(encoder=[BOTH[0]]).encoders] == ["descriptor"]


def test_a_file_may_list_encoders(tmp_path):
    """Each with the defaults of what it does not name; a folder of a model starts at the folder of the file."""
    (tmp_path / "model").mkdir()
    (tmp_path / "own.yaml").write_text(
        "encoder:\n  - {backend: onnx, model: ./model, revision: 010}\n  - backend: descriptor\n    view: center .25\n"
    )
    first, second = PipelineConfig.from_yaml(tmp_path / "own.yaml").encoders
    assert (first.model, first.revision, first.view) == (str(tmp_path / "model"), "010", None)
    assert (second.backend, second.view, second.batch_size) == ("descriptor", "center 0.25", 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encoder: []", "encoder: expected 1 or more, got []"),
        ("encoder: 3", "encoder: "),
        ("encoder: [descriptor]", "encoder.0: "),
        ("encoder: [{}, {backends: onnx}]", "unknown key 'encoder.1.backends': did you mean 'encoder.1.backend'?"),
        ("encoder: [{backend: descriptor, view: left}]", "encoder.0.view: expected `center` and a fraction"),
        ("encoder: [{backend: descriptor}, {backend: none}]", "encoder.1.backend: expected"),
        ("encoder: [{backend: descriptor, k: 3}]", "unknown key 'encoder.0.k': "),
        ("encoder.0.view: center 0.5", "unknown key 'encoder.0.view'"),
    ],
)  # fmt: skip
def test_an_impossible_list_of_encoders_is_refused(tmp_path, text, message):
    """With the place and the key."""
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        PipelineConfig.from_yaml(tmp_path / "own.yaml")
    assert message in str(caught.value)
    assert "section" not in str(caught.value).replace("Section", "")


def test_one_of_several_encoders_is_set_by_its_number():
    """From 0. Without a number, or with another, the error says which there are; nothing is changed then."""
    config = PipelineConfig(encoder=BOTH)
    config.set("encoder.1.view=center 0.7")
    config.set("encoder.0.revision: 010")
    assert (config.encoders[1].view, config.encoders[0].revision) == ("center 0.7", "010")
    before = config.model_dump()
    for setting, message in (
        ("encoder.2.view=null", "encoder.2: expected one of 0 to 1, got '2'"),
        ("encoder.x.view=null", "encoder.x: expected one of 0 to 1, got 'x'"),
        ("encoder.-1.view=null", "Expected KEY=VALUE|encoder.-1"),
        ("encoder.view=null", "encoder is a list of 2. Name one of them, such as encoder.0."),
        ("encoder.1.viw=null", "unknown key 'encoder.1.viw': did you mean 'encoder.1.view'?"),
        ("encoder.1.view=left", "expected `center` and a fraction"),
        ("encoder=[]", "encoder: expected 1 or more, got []"),
    ):
        with pytest.raises(ConfigError) as caught:
            config.set(setting)
        assert any(part in str(caught.value) for part in message.split("|")), str(caught.value)
    assert config.model_dump() == before
    config.set("encoder={backend: descriptor}")
    assert len(config.encoders) == 1
    with pytest.raises(ConfigError, match=r"encoder is one section, not a list. Name encoder.KEY instead"):
        config.set("encoder.0.threads=2")
    config.set("encoder=[{backend: descriptor}, {backend: onnx}]")
    assert [encoder.backend for encoder in config.encoders] == ["descriptor", "onnx"]
