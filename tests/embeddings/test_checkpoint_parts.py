"""A checkpoint whose parts do not fit is refused, with a reason that names the part."""

import json
import shutil

import pytest

from lmm_classifier.core.errors import EncoderError

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from safetensors.torch import load_file, save_file  # noqa: E402 - it needs torch

from lmm_classifier.embeddings.transformers import TransformersEncoder  # noqa: E402 - it needs torch


def changed(folder, copy, file, change):
    """Copy a checkpoint and change the JSON of one file."""
    shutil.copytree(folder, copy)
    settings = json.loads((copy / file).read_text())
    change(settings)
    (copy / file).write_text(json.dumps(settings))
    return copy


@pytest.mark.parametrize("part", ["vision", "text"])
def test_a_weight_of_another_shape_is_named(tiny_encoder, tmp_path, part):
    """The error of the library names none, and refers to a report that is not shown."""
    folder = shutil.copytree(tiny_encoder("siglip"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.startswith(f"{part}_model.encoder.layers.1.mlp.fc1.weight"))
    weights[name] = torch.zeros(7, 7)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"layers.1.mlp.fc1.weight has the shape \(7, 7\), but its config.json says"):
        TransformersEncoder(str(folder)).encode_texts(["cloth"])


def test_another_configuration_says_which_weight_differs(tiny_encoder, tmp_path):
    folder = changed(
        tiny_encoder("clip"), tmp_path / "model", "config.json", lambda settings: settings.update(projection_dim=7)
    )
    with pytest.raises(EncoderError, match=r"visual_projection.weight has the shape .* but its config.json says \(7, "):
        TransformersEncoder(str(folder))


@pytest.mark.parametrize("settings", [{"quant_method": "fp8"}, {"load_in_8bit": True}, "awq"])
def test_quantized_weights_are_no_weights_of_a_tower(tiny_encoder, tmp_path, settings):
    """A tower would load their integers without their scales, and give other vectors without a word."""
    folder = changed(
        tiny_encoder("siglip"),
        tmp_path / "model",
        "config.json",
        lambda config: config["vision_config"].update(quantization_config=settings),
    )
    with pytest.raises(EncoderError, match="its weights are quantized|its quantization_config is a str"):
        TransformersEncoder(str(folder))


def test_patches_of_another_size_are_refused_when_it_is_loaded(tiny_encoder, tmp_path):
    folder = changed(
        tiny_encoder("siglip2"),
        tmp_path / "model",
        "preprocessor_config.json",
        lambda given: given.update(patch_size=7),
    )
    with pytest.raises(EncoderError, match="gives patches of 7 pixels a side, but its config.json says 14"):
        TransformersEncoder(str(folder))


def test_a_tower_without_a_head_says_what_to_set(tiny_encoder, tmp_path):
    """The image features are the output of the head; the mean of the tokens is there without it."""

    def remove(config):
        config["vision_config"]["vision_use_head"] = False

    folder = changed(tiny_encoder("siglip"), tmp_path / "model", "config.json", remove)
    with pytest.raises(EncoderError, match="no pooling head; set encoder.pooling to mean"):
        TransformersEncoder(str(folder))
    assert TransformersEncoder(str(folder), pooling="mean").fingerprint.dim == 64


def test_a_damaged_checkpoint_is_not_called_missing(tiny_encoder, tmp_path):
    """It was found, so the error does not advise a download to the cache."""
    folder = shutil.copytree(tiny_encoder("siglip"), tmp_path / "model")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1000])
    with pytest.raises(EncoderError, match=r"Copy or download the files of the checkpoint again$"):
        TransformersEncoder(str(folder))
