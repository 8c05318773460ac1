"""What an index stores of the settings: enough to open its models, and nothing private."""

import pytest

from lmm_classifier.config import PipelineConfig, preset_names
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.index.settings.kept import checked_settings, kept_settings

SIGLIP = {"backend": "transformers", "model": "google/siglip-so400m-patch14-384"}
QWEN = {"backend": "vlm", "model_name": "Qwen/Qwen2-VL-7B-Instruct"}


def configured(*settings, preset="default"):
    config = PipelineConfig.preset(preset)
    for setting in settings:
        config.set(setting)
    return config


def test_lite_and_its_views():
    """The preset `lite` is remembered by the names of its backends."""
    expected = {"encoder": [{"backend": "lite"}, {"backend": "descriptor"}], "rerank": {"backend": "views"}}
    assert kept_settings(PipelineConfig.preset("lite")) == expected


@pytest.mark.parametrize("name", preset_names())
def test_each_preset_comes_back(name):
    """The encoders, the reranker and the cascade of each preset come back as they were."""
    config = PipelineConfig.preset(name)
    found = checked_settings(kept_settings(config))
    assert [section.model_dump() for section in found.encoders] == [s.model_dump() for s in config.encoders]
    assert found.retrieval.cascade == config.retrieval.cascade
    assert found.rerank.enabled == config.rerank.enabled
    if config.rerank.enabled:
        assert (found.rerank.backend, found.rerank.model_name) == (config.rerank.backend, config.rerank.model_name)


def test_what_makes_other_vectors_is_kept_and_what_concerns_the_machine_is_not():
    """A view, a revision and the pooling change vectors; a device, threads and folders of caches do not."""
    made = ["encoder.view=center 0.5", "encoder.revision=abc", "encoder.pooling=mean", "encoder.dtype=float32"]
    config = configured(*made, "encoder.device=cpu", "encoder.threads=2", "encoder.cache_dir=/home/me/models")
    expected = SIGLIP | {"view": "center 0.5", "revision": "abc", "pooling": "mean", "dtype": "float32"}
    assert kept_settings(config) == {"encoder": [expected], "rerank": QWEN}


@pytest.mark.parametrize("model", ["/home/me/model", "~/model", "./model", "models/of/mine"])
def test_a_path_is_never_stored(model):
    """An encoder in a folder of this machine is not remembered, and no other encoder stands in for it."""
    assert kept_settings(configured(f"encoder.model={model}")) == {}


def test_a_name_that_is_a_folder_here_is_a_path(tmp_path, monkeypatch):
    """`owner/name` may be a folder next to the program."""
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert kept_settings(configured("encoder.model=owner/name")) == {}
    assert kept_settings(configured("encoder.model=owner/other"))["encoder"][0]["model"] == "owner/other"


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (["rerank.enabled=false"], {"enabled": False}),
        (["rerank.backend=views"], {"backend": "views"}),
        (["rerank.model_name=owner/model"], {"backend": "vlm", "model_name": "owner/model"}),
        (["rerank.model_name=/models/qwen"], {"enabled": False, "backend": "vlm"}),
        (
            ["rerank.backend=openai_api", "rerank.server.base_url=http://10.1.2.3/v1", "rerank.model_name=mine"],
            {"enabled": False, "backend": "openai_api"},
        ),
    ],
)
def test_a_reranker_is_kept_without_its_address(settings, kept):
    """A server's address and a folder are private, so such a reranker is stored as disabled."""
    assert kept_settings(configured(*settings))["rerank"] == kept


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"encoder": {"backend": "lite"}, "rerank": {}},
        {"encoder": [], "rerank": {}},
        {"encoder": [SIGLIP]},
        {"encoder": ["lite"], "rerank": {}},
        {"encoder": [{"backend": "no such"}], "rerank": {}},
        {"encoder": [SIGLIP | {"cache_dir": "/tmp"}], "rerank": {}},
        {"encoder": [SIGLIP | {"model": "/tmp/model"}], "rerank": {}},
        {"encoder": [SIGLIP | {"model": 3}], "rerank": {}},
        {"encoder": [SIGLIP], "rerank": {"server": {"base_url": "http://other.example/v1"}}},
        {"encoder": [SIGLIP], "rerank": {"backend": "vlm", "model_name": "/tmp/model"}},
        {"encoder": [SIGLIP], "rerank": {}, "retrieval": {"index_path": "/tmp/other"}},
        {"encoder": [SIGLIP], "rerank": {}, "logging": {"file": "/tmp/log"}},
    ],
)
def test_settings_of_a_strange_index_are_refused(kept):
    """An index of someone else can name no file, no server and no other setting."""
    with pytest.raises(ConfigError):
        checked_settings(kept)
