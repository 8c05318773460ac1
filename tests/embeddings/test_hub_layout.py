"""A checkpoint laid out as the default model is on the hub gives the numbers of the library of its release."""

import json
import shutil
from itertools import combinations

import numpy as np
import pytest

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.transformers import TransformersEncoder

pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
pytest.importorskip("google.protobuf", reason="protobuf is not installed")

from safetensors.numpy import load_file, save_file  # noqa: E402 - it comes with transformers

from tests.fixtures.make_hub_siglip import EXPECTED, TEXTS, images, make, weights  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make(tmp_path_factory.mktemp("siglip-so400m-patch14-384"))


def encoder(folder):
    return TransformersEncoder(str(folder), dtype="float32", device="cpu")


def normalized(rows):
    return np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)


def test_every_weight_has_a_place_and_every_place_a_weight(checkpoint):
    """The whole model, and each of the two towers that are loaded alone, know all names of the release."""
    _, report = transformers.SiglipModel.from_pretrained(checkpoint, output_loading_info=True)
    assert (report["missing_keys"], report["unexpected_keys"]) == (set(), set())
    for tower, other in (("Vision", "text"), ("Text", "vision")):
        loaded, report = getattr(transformers, f"Siglip{tower}Model").from_pretrained(
            checkpoint,
            output_loading_info=True,
            config=getattr(transformers.AutoConfig.from_pretrained(checkpoint), f"{tower.lower()}_config"),
        )
        elsewhere = {name for name in weights() if name.startswith((f"{other}_model.", "logit_"))}
        assert report["missing_keys"] == set()
        assert report["unexpected_keys"] == elsewhere
        assert len(loaded.state_dict()) == len(weights()) - len(elsewhere)


def test_it_gives_the_numbers_of_the_library_of_its_release(checkpoint):
    """Images and texts, through preprocessor_config.json and spiece.model, are those of transformers 4.46.3."""
    expected, ours = json.loads(EXPECTED.read_text()), encoder(checkpoint)
    rows, texts = normalized(expected["images"]), normalized(expected["texts"])
    for vectors in (rows, texts):
        assert max(vectors[a] @ vectors[b] for a, b in combinations(range(3), 2)) < 0.997, "all look the same"
    assert (encode_images(ours, images()) * rows).sum(axis=1).min() >= 0.99999
    assert (ours.encode_texts(TEXTS) * texts).sum(axis=1).min() >= 0.99999


def changed(checkpoint, folder, change):
    """Return a copy of the checkpoint with other weights."""
    shutil.copytree(checkpoint, folder)
    tensors = change(load_file(checkpoint / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_a_missing_weight_is_refused(checkpoint, tmp_path, tower):
    """Transformers would fill it with random numbers; the error names it."""
    name = f"{tower}_model.encoder.layers.1.mlp.fc1.weight"
    folder = changed(checkpoint, tmp_path / "copy", lambda tensors: {k: t for k, t in tensors.items() if k != name})
    with pytest.raises(EncoderError, match=r"has no weight .*encoder.layers.1.mlp.fc1.weight \(1 missing\)"):
        encoder(folder).encode_texts(TEXTS)


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_a_weight_without_a_place_is_refused(checkpoint, tmp_path, tower):
    """A config.json with fewer layers than the weights would give a cut model; the error names the first."""
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config[f"{tower}_config"]["num_hidden_layers"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=r"no place for the weight .*encoder.layers.1.*16 such weights"):
        encoder(folder).encode_texts(TEXTS)


def test_a_constant_of_older_files_is_no_weight(checkpoint, tmp_path):
    """Files of 2023 hold the numbers of positions too."""
    positions = {
        f"{tower}_model.embeddings.position_ids": np.arange(n)[None] for tower, n in (("vision", 729), ("text", 64))
    }
    folder = changed(checkpoint, tmp_path / "copy", lambda tensors: {**tensors, **positions})
    expected = encode_images(encoder(checkpoint), images())
    np.testing.assert_array_equal(encode_images(encoder(folder), images()), expected)


def test_an_image_processor_of_another_size_is_refused(checkpoint, tmp_path):
    """The positions of the tower are of one size; the error names both."""
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    text = (folder / "preprocessor_config.json").read_text()
    (folder / "preprocessor_config.json").write_text(text.replace("384", "224"))
    with pytest.raises(EncoderError, match=r"images of 224 x 224 pixels, but its config.json says 384 x 384"):
        encoder(folder)
