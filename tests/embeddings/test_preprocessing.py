"""Preprocessing gives the values of transformers, and wrong descriptions are refused."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.preprocessing import EXAMPLE, Preprocessing


def describe(tmp_path, text):
    (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
    return Preprocessing.from_yaml(tmp_path / "model.yaml")


def values(preprocessing, image):
    return preprocessing.scaled([preprocessing.preprocess(image)])[0]


def gradient(width, height):
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 / width, y * 255 / height, x * 0 + 40], -1).astype(np.uint8))


def test_values_layout_and_channels(tmp_path):
    """A value is (pixel / 255 - mean) / std; bgr reverses the channels, nhwc puts them last."""
    image = Image.new("RGB", (9, 9), (255, 0, 51))
    base = "size: 4\nmean: [0.5, 0.0, 0.1]\nstd: [0.5, 1, 0.2]\n"
    expected = np.array([1.0, 0.0, 0.5], np.float32)
    planes = values(describe(tmp_path, base), image)
    assert planes.shape == (3, 4, 4)
    np.testing.assert_allclose(planes[:, 2, 2], expected, atol=1e-6)
    last = values(describe(tmp_path, base + "layout: nhwc\nchannels: bgr\n"), image)
    assert last.shape == (4, 4, 3)
    np.testing.assert_allclose(last[1, 1], expected[::-1], atol=1e-6)


def test_crop_equals_resize_then_center_crop(tmp_path):
    """The result is that of the usual two steps, without the large image between them."""
    image = gradient(300, 200)
    cropped = values(describe(tmp_path, "size: 64\nfit: crop\nresize: 80\nresample: bilinear\n"), image)
    resized = image.resize((120, 80), Image.Resampling.BILINEAR).crop((28, 8, 92, 72))
    expected = np.asarray(resized, np.float32).transpose(2, 0, 1) / 255
    assert np.abs(cropped - expected).max() < 2.5 / 255


def test_squash_and_center_equal_resize_then_center_crop(tmp_path):
    """`resize` with squash resizes both sides, and then takes the center."""
    image = gradient(300, 200)
    cropped = values(describe(tmp_path, "size: 64\nfit: squash\nresize: 80\nresample: bilinear\n"), image)
    resized = image.resize((80, 80), Image.Resampling.BILINEAR).crop((8, 8, 72, 72))
    assert np.abs(cropped - np.asarray(resized, np.float32).transpose(2, 0, 1) / 255).max() < 2.5 / 255


def test_squash_and_sides(tmp_path):
    """Squash takes the whole image; a size may be height and width."""
    squashed = values(describe(tmp_path, "size: [20, 40]\nfit: squash\n"), gradient(300, 200))
    assert squashed.shape == (3, 20, 40)
    assert squashed[0, :, -1].mean() > 0.95


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("fit: crop", "size"),
        ("size: 0", "size"),
        ("size: 8\nfit: stretch", "fit"),
        ("size: 8\nmean: [1, 2]", "mean"),
        ("size: 8\nstd: [1, 1, 0]", "std"),
        ("size: 8\ncolor: rgb", "color"),
        ("size: [", "not plain YAML"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, text, key):
    """The error names the wrong key or value, and the file."""
    with pytest.raises(ConfigError) as caught:
        describe(tmp_path, text)
    assert key in str(caught.value)
    assert "model.yaml" in str(caught.value)


def test_the_example_is_a_valid_description(tmp_path):
    """The example of the error message can be used unchanged, and is one line as errors are."""
    assert describe(tmp_path, EXAMPLE).shape == (224, 224)
    assert "\n" not in EXAMPLE


@pytest.mark.parametrize("size", [(120, 50), (50, 121), (56, 56), (401, 300), (30, 20), (31, 300)])
@pytest.mark.parametrize(
    "processor",
    [
        ("SiglipImageProcessorPil", {"size": {"height": 56, "width": 48}}),
        (
            "SiglipImageProcessorPil",
            {"size": {"height": 40, "width": 40}, "resample": 2, "image_mean": [0.1, 0.2, 0.3]},
        ),
        ("CLIPImageProcessorPil", {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}}),
    ],
    ids=["siglip", "bilinear", "clip"],
)
def test_values_are_those_of_the_processor_of_transformers(processor, size):
    """Preprocessing from the processor's settings gives its values to 2 of 255 levels."""
    pytest.importorskip("torch", reason="torch is not installed")  # this processor of transformers imports it
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    name, settings = processor
    processor = getattr(transformers, name)(**settings)
    image = draw("tartan", np.random.default_rng(0), 128).resize(size, Image.Resampling.BICUBIC)
    ours = Preprocessing.of_processor(processor.to_dict())
    theirs = processor(images=[image], return_tensors="np")["pixel_values"][0]
    assert (np.abs(values(ours, image) - theirs) * np.array(ours.std)[:, None, None] * 255).max() <= 2.01


@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"max_patches": 256}},
        {"size": {"height": 8, "width": 8}, "do_normalize": True},
        {"size": {"height": 8, "width": 8}, "do_normalize": False, "resample": 4},
        {"size": {"shortest_edge": 8}, "do_normalize": False},
        {"size": {"longest_edge": 8}, "do_center_crop": True, "do_normalize": False},
    ],
)
def test_other_processing_is_left_to_transformers(settings):
    """Processing other than a plain resize or crop with the usual scale gives None."""
    assert Preprocessing.of_processor(settings) is None
