"""Environment variables name settings; nothing with the prefix is passed over in silence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier import PipelineConfig
from lmm_classifier.core.environment_settings import PREFIX, environment_settings
from lmm_classifier.core.errors import ConfigError


def configured(preset="default", **variables):
    """Return a preset with the settings of variables."""
    config = PipelineConfig.preset(preset)
    config.set_from_environment({f"{PREFIX}{name}": value for name, value in variables.items()})
    return config


def test_a_variable_names_a_setting():
    """Its value is read as that of `--set`: YAML, and text where only text can stand."""
    config = configured(
        RETRIEVAL__K="10",
        RERANK__SERVER__BASE_URL="http://gpu:8000/v1",
        LABELS="[no, 010]",
        RETRIEVAL__KEEP_KNOWN="0.9",
        ALLOW_UNKNOWN="false",
    )
    assert config.retrieval.k == 10
    assert config.rerank.server.base_url == "http://gpu:8000/v1"
    assert config.labels == ["no", "010"]
    assert config.retrieval.keep_known == 0.9
    assert not config.allow_unknown


def test_encoders_are_named_by_their_place():
    """A list comes before what is changed in it, in whatever order the variables stand."""
    assert configured("lite", ENCODER__1__VIEW="center 0.5").encoders[1].view == "center 0.5"
    config = configured(ENCODER__0__DEVICE="cpu", ENCODER="[{backend: lite}, {backend: descriptor}]")
    assert [(encoder.backend, encoder.device) for encoder in config.encoders] == [
        ("lite", "cpu"),
        ("descriptor", "auto"),
    ]


def test_other_variables_are_not_read():
    """Those of the program with one underscore, such as the tokens of the server, are no settings."""
    names = ("LMM_CLASSIFIER_TOKEN", "LMM_CLASSIFIER_PORT", "_LMM_CLASSIFIER_COMPLETE", "LMM_CLASSIFIER", "PATH")
    assert environment_settings(dict.fromkeys(names, "x")) == {}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RETRIVAL__K": "1"}, "LMM_CLASSIFIER__RETRIVAL__K: unknown key 'retrival'"),
        (
            {"RETRIEVAL__KK": "1"},
            "LMM_CLASSIFIER__RETRIEVAL__KK: unknown key 'retrieval.kk': did you mean 'retrieval.k'",
        ),
        ({"RETRIEVAL__K": "many"}, "LMM_CLASSIFIER__RETRIEVAL__K: retrieval.k=many: k: expected a valid integer"),
        ({"RETRIEVAL__K": ""}, "LMM_CLASSIFIER__RETRIEVAL__K: retrieval.k="),
        ({"": "1"}, "LMM_CLASSIFIER__ names no setting. Expected LMM_CLASSIFIER__SECTION__KEY"),
        ({"RETRIEVAL____K": "1"}, "names no setting"),
        ({"RETRIEVAL__": "1"}, "names no setting"),
        ({"RETRIEVAL.K": "1"}, "names no setting"),
        ({"LABELS": "[a", "X": ""}, "LMM_CLASSIFIER__LABELS"),
        ({"retrieval__k": "1", "RETRIEVAL__K": "2"}, "both set retrieval.k"),
    ],
)
def test_what_names_no_setting_is_told(variables, message):
    """With the name of the variable, and what was expected."""
    with pytest.raises(ConfigError) as raised:
        configured(**variables)
    assert message in str(raised.value)


def test_secrets_are_not_shown():
    """The value of a header stays out of the message."""
    with pytest.raises(ConfigError) as raised:
        configured(RERANK__SERVER__EXTRA_HEADERS="[secret-word]")
    assert "secret-word" not in str(raised.value)


@given(st.dictionaries(st.text(max_size=8).map(lambda text: f"{PREFIX}{text}"), st.text(max_size=8), max_size=3))
def test_any_variables_are_settings_or_one_clear_error(variables):
    """No other exception, whatever the names and values are."""
    try:
        PipelineConfig().set_from_environment(variables)
    except ConfigError as error:
        assert "environment variable" in str(error)
