"""The settings in force are shown with where they come from taken together; secrets are not."""

import json

from lmm_classifier import PipelineConfig
from tests.helpers.command_line import run


def test_settings_in_force_can_be_read_again(tmp_path, monkeypatch):
    """The flag comes before the environment, and this before the file."""
    (tmp_path / "own.yaml").write_text("retrieval:\n  k: 3\n  candidates: 4\nlabels: [no, 010]\n")
    monkeypatch.setenv("LMM_CLASSIFIER__RETRIEVAL__K", "5")
    monkeypatch.setenv("LMM_CLASSIFIER__RETRIEVAL__CANDIDATES", "6")
    done = run("config", "--config", "own.yaml", "--set", "retrieval.k=7", cwd=tmp_path)
    (tmp_path / "shown.yaml").write_text(done.stdout)
    config = PipelineConfig.from_yaml(tmp_path / "shown.yaml")
    assert (config.retrieval.k, config.retrieval.candidates, config.labels) == (7, 6, ["no", "010"])


def test_a_variable_that_names_no_setting_ends_the_command(monkeypatch):
    """With its name; nothing is passed over in silence."""
    monkeypatch.setenv("LMM_CLASSIFIER__RETRIEVAL__KK", "5")
    assert "LMM_CLASSIFIER__RETRIEVAL__KK: unknown key 'retrieval.kk'" in run("config", code=1).stderr


def test_secrets_are_hidden():
    """The values of headers; an address with a password is refused."""
    done = run("config", "--set", "rerank.server.extra_headers={X-Key: hidden-word}")
    assert "hidden-word" not in done.stdout
    assert "X-Key" in done.stdout


def test_the_schema_is_that_of_the_package():
    """As an object on standard output, for editors and other programs."""
    schema = json.loads(run("config", "--schema").stdout)
    assert schema["properties"].keys() == PipelineConfig.model_fields.keys()
