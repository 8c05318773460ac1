"""The image processing of a checkpoint is read from its own JSON, and is that of transformers."""

import json

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.image_processor import DEFAULTS, described, preprocessing_of, read_image_processor

COMPLETE = {"size": {"height": 40, "width": 40}, "resample": 2, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5] * 3}
# the settings of files on the hub, of every age, in a smaller size
FILES = {
    "clip of 2021": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 56, "crop_size": 48, "resample": 3}
    | {"do_center_crop": True, "do_normalize": True, "do_resize": True},
    "vit of 2021": {"feature_extractor_type": "ViTFeatureExtractor", "size": 56, "image_mean": [0.5] * 3},
    "deit of 2021": {"feature_extractor_type": "DeiTFeatureExtractor", "size": 64, "crop_size": 56, "resample": 3},
    "convnext below 384": {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 56, "crop_pct": 0.875},
    "convnext at 384": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    "dinov2": {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 64}, "resample": 3}
    | {"crop_size": {"height": 56, "width": 56}, "do_center_crop": True, "image_mean": [0.485, 0.456, 0.406]},
    "efficientnet of align": {"image_processor_type": "EfficientNetImageProcessor", "do_center_crop": True}
    | {"size": {"height": 64, "width": 64}, "crop_size": {"height": 56, "width": 56}, "rescale_offset": True}
    | {"include_top": False, "rescale_factor": 1 / 127.5, "do_normalize": False},
    "efficientnet with its top": {"image_processor_type": "EfficientNetImageProcessor", "size": 48, "resample": 0},
    "levit": {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 56}, "do_center_crop": True}
    | {"crop_size": {"height": 56, "width": 56}, "resample": 3, "do_normalize": True, "do_resize": True},
    "not normalized": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 48, "width": 40}}
    | {"do_normalize": False},
    "not scaled": {"image_processor_type": "SiglipImageProcessor", "do_rescale": False, "do_normalize": False}
    | {"size": {"height": 48, "width": 48}},
}


def written(folder, settings, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(settings), encoding="utf-8")
    return folder


def preprocessing(folder):
    return preprocessing_of(read_image_processor(folder), folder)


@pytest.mark.parametrize("name", FILES)
def test_values_are_those_of_the_image_processor_of_transformers(tmp_path, name):
    """To 2 of 255 levels, for sizes of one number, missing keys, crops and other scales."""
    pytest.importorskip("torch", reason="torch is not installed")  # image processors of transformers import it
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    ours = preprocessing(written(tmp_path, FILES[name]))
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    for size in ((120, 50), (50, 121), (401, 300)):
        image = draw("tartan", np.random.default_rng(0), 128).resize(size, Image.Resampling.BICUBIC)
        expected = theirs(images=[image], return_tensors="np")["pixel_values"][0]
        found = ours.scaled([ours.preprocess(image)])[0]
        assert found.shape == expected.shape
        assert (np.abs(found - expected) * np.array(ours.std)[:, None, None] * 255).max() <= 2.01


@pytest.mark.parametrize("kind", [kind for kind in DEFAULTS if kind not in ("DINOv3ViT", "Tipsv2")])
def test_missing_keys_mean_what_the_class_of_transformers_says(kind):
    """The table holds the defaults of each class, of which old files leave out many."""
    pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    theirs = getattr(transformers, f"{kind}ImageProcessorPil")
    for key, value in DEFAULTS[kind].items():
        assert getattr(theirs, key) == value, key
    for step in ("do_center_crop", "do_pad", "do_normalize", "rescale_offset", "include_top", "crop_pct"):
        assert bool(getattr(theirs, step, None)) == bool(DEFAULTS[kind].get(step, step == "do_normalize")), step


def test_a_processor_of_several_parts_comes_first(tmp_path):
    """As in transformers: processor_config.json holds the image processor, or only that of the texts."""
    written(tmp_path, COMPLETE)
    written(tmp_path, {"processor_class": "CLIPProcessor"}, "processor_config.json")
    assert preprocessing(tmp_path).shape == (40, 40)
    written(tmp_path, {"image_processor": {**COMPLETE, "size": {"height": 8, "width": 8}}}, "processor_config.json")
    assert preprocessing(tmp_path).shape == (8, 8)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({key: value for key, value in COMPLETE.items() if key != "resample"}, "does not say resample"),
        ({"image_processor_type": "NewImageProcessorFast"}, "size, resample, image_mean, image_std.*New is not known"),
        ({**COMPLETE, "size": 40}, "of which sides"),
        ({**COMPLETE, "crop_size": {"height": 8, "width": 8}}, "does not say do_center_crop"),
        ({**COMPLETE, "size": {"shortest_edge": 40}}, "is not supported"),
        ({**COMPLETE, "size": {"shortest_edge": 40, "longest_edge": 80}}, "is not supported"),
        ({**COMPLETE, "do_resize": False}, "is not supported"),
        ({**COMPLETE, "do_pad": True}, "is not supported"),
        ({**COMPLETE, "do_flip_channel_order": True}, "is not supported"),
        ({**COMPLETE, "do_grayscale": True}, "is not supported"),
        ({**COMPLETE, "crop_to_patches": True}, "is not supported"),
        ({**COMPLETE, "keep_aspect_ratio": True}, "is not supported"),
        ({**COMPLETE, "image_processor_type": "LevitImageProcessor", "size": "large"}, "is not supported"),
        ({**COMPLETE, "resample": 4}, "is not supported"),
        ({**COMPLETE, "image_mean": [0.5]}, "is not supported"),
        ({**COMPLETE, "image_std": [0.5, 0.5, 0.0]}, "is not supported"),
        ({**COMPLETE, "size": {"height": 0, "width": 40}}, "is not supported"),
        ({**COMPLETE, "size": "large"}, "is not supported"),
        ({**COMPLETE, "resample": "bicubic"}, "is not supported"),
        ({**COMPLETE, "do_center_crop": True, "crop_size": 50}, "is not supported"),  # larger than the image
        ({**COMPLETE, "do_center_crop": True, "crop_size": 8, "crop_pct": 0.9}, "is not supported"),
        ([1], "holds a list"),
        (None, "holds a NoneType"),
    ],
)
def test_what_would_be_a_guess_is_refused(tmp_path, settings, reason):
    """The error names the missing keys, or the processing that no preprocessing has."""
    with pytest.raises(EncoderError, match=reason):
        preprocessing(written(tmp_path, settings))


def test_a_missing_or_broken_file(tmp_path):
    """The error names the file."""
    with pytest.raises(EncoderError, match=r"has no preprocessor_config\.json"):
        read_image_processor(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes(b"\xff{")
    with pytest.raises(EncoderError, match=r"preprocessor_config\.json cannot be read"):
        read_image_processor(tmp_path)


def test_the_description_names_what_changes_pixels(tmp_path):
    """Steps that are left out are in it, names of classes are not."""
    settings = read_image_processor(written(tmp_path, FILES["not normalized"]))
    values = json.loads(described(settings))
    assert values["do_normalize"] is False
    assert values["size"] == {"height": 48, "width": 40}
    assert not {"image_processor_type", "do_rescale", "do_convert_rgb"} & set(values)
