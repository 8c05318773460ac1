"""The identity of a checkpoint is of every byte from which an answer is made."""

import pytest

from lmm_classifier.core.checkpoints import checkpoint_digest

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


def test_other_files_do_not_count(folder):
    """So a copy without them is the same checkpoint."""
    before = checkpoint_digest(folder)
    for name in ("README.md", ".gitattributes", "pytorch_model.bin"):
        (folder / name).unlink()
    assert checkpoint_digest(folder) == before
