"""A checkpoint is found or the error says which folder was meant; its identity is of every byte that is loaded."""

import json

import pytest

from lmm_classifier.core.checkpoints import checkpoint_digest, resolve_checkpoint

LOADED = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "adapter_config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "adapter_model.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "chat_template.json",
    "chat_template.jinja",
)


@pytest.fixture
def folder(tmp_path):
    for name in (*LOADED, "README.md", ".gitattributes", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(name.encode() * 100)
    return tmp_path


@pytest.mark.parametrize("name", LOADED)
def test_a_changed_byte_of_any_loaded_file_is_another_checkpoint(folder, name):
    """In the middle of a file, and if the file is missing or renamed."""
    digests = {checkpoint_digest(folder)}
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    digests.add(checkpoint_digest(folder))
    (folder / name).unlink()
    digests.add(checkpoint_digest(folder))
    assert len(digests) == 3


@pytest.mark.parametrize("name", ["parts/a.safetensors", "../shared.safetensors", "parts/chosen.safetensors"])
def test_weights_in_other_folders_count(tmp_path, name):
    """A list of shards and the settings may name them, and transformers loads them from there."""
    folder = tmp_path / "checkpoint"
    for part in (folder / "parts", folder):
        part.mkdir(parents=True, exist_ok=True)
    shards = {"x": "parts/a.safetensors", "y": "../shared.safetensors", "z": 3}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (folder / "config.json").write_text('{"transformers_weights": "parts/chosen.safetensors"}')
    digests = {checkpoint_digest(folder)}
    for content in (b"one", b"two"):
        (folder / name).write_bytes(content)
        digests.add(checkpoint_digest(folder))
    assert len(digests) == 3


def test_other_files_do_not_count(folder):
    """So a copy without them is the same checkpoint."""
    before = checkpoint_digest(folder)
    for name in ("README.md", ".gitattributes", "pytorch_model.bin"):
        (folder / name).unlink()
    assert checkpoint_digest(folder) == before


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The current folder, with a checkpoint in `models/tiny_siglip`."""
    pytest.importorskip("huggingface_hub")
    folder = tmp_path / "models" / "tiny_siglip"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def message(model, folder, allow_download=False):
    """Return what the search for a model says."""
    with pytest.raises(FileNotFoundError) as caught:
        resolve_checkpoint(model, None, folder / "cache", allow_download, "siglip")
    assert "Repo id" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_found_however_it_is_written(models):
    """Relative, absolute, and in the home folder."""
    for written in ("models/tiny_siglip", "./models/tiny_siglip", str(models / "models/tiny_siglip")):
        assert resolve_checkpoint(written, None, None, False, "siglip").samefile(models / "models/tiny_siglip")
    assert resolve_checkpoint("~/models/tiny_siglip", None, None, False, "siglip") == models / "models/tiny_siglip"


@pytest.mark.parametrize(
    "written", ["./models/tiny_siglp", "~/models/tiny_siglp", "models/./tiny_siglp", "models/tiny_siglp"]
)
def test_a_misspelt_folder_is_answered_by_the_most_similar(models, written):
    """Whether it can only be a path or could be a name on the hub."""
    text = message(written, models)
    assert f"Did you mean {models / 'models' / 'tiny_siglip'}?" in text
    if written != "models/tiny_siglp":
        assert f"there is no folder {models / 'models' / 'tiny_siglp'}." in text


@pytest.mark.parametrize("download", [False, True])
def test_a_name_that_is_neither_a_folder_nor_a_hub_name(models, download):
    """The hub's client refuses it; the message says both."""
    assert message("zzz!", models, download) == "it is no folder, and cannot be the name of a model on the hub"


def test_a_file_is_no_checkpoint(models):
    """The folder is expected, not the file in it."""
    text = message("models/tiny_siglip/model.safetensors", models)
    assert text.endswith("model.safetensors is a file, expected the folder of a checkpoint")


def test_the_hub_s_cache_needs_a_home_folder_or_a_name(models, monkeypatch):
    """Without either, the hub's client would make a folder `~` where the program runs."""

    def no_account(uid):
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_account)
    with pytest.raises(FileNotFoundError, match="home folder is unknown.*Set HOME, HF_HOME or cache_dir"):
        resolve_checkpoint("google/siglip-base-patch16-224", None, None, False, "siglip")
    assert "home" not in message("google/siglip-base-patch16-224", models)
    assert not (models / "~").exists()
