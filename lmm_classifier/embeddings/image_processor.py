"""Read the image processing of a checkpoint from its own JSON, without an image processor of transformers.

Those need torchvision for many models, and some exist in no other form. Here their settings become a `Preprocessing`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.embeddings.preprocessing import Preprocessing

_CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_BILINEAR, _BICUBIC = {"resample": 2}, {"resample": 3}
_COMMON = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}


def _squared(side: int) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}}


def _cropped(side: int) -> dict[str, Any]:
    return {"do_center_crop": True, "crop_size": {"height": side, "width": side}}


_SHORTER_SIDE = {"size": {"shortest_edge": 224}}
# what a key means that the JSON leaves out, by the class of the image processor; old files leave out many
DEFAULTS: dict[str, dict[str, Any]] = {
    "Siglip": _squared(224) | _BICUBIC | _HALF,
    "CLIP": _SHORTER_SIDE | _cropped(224) | _BICUBIC | _CLIP,
    "ChineseCLIP": _SHORTER_SIDE | _cropped(224) | _BICUBIC | _CLIP,
    "Bit": _SHORTER_SIDE | _cropped(224) | _BICUBIC | _CLIP,
    "ViT": _squared(224) | _BILINEAR | _HALF,
    "DeiT": _squared(256) | _cropped(224) | _BICUBIC | _HALF,
    "Blip": _squared(384) | _BICUBIC | _CLIP,
    "ConvNext": {"size": {"shortest_edge": 384}, "crop_pct": 224 / 256} | _BICUBIC | _HALF,
    "EfficientNet": {"rescale_offset": False, "include_top": True} | _squared(346) | _BICUBIC | _HALF,
    "Levit": _SHORTER_SIDE | _cropped(224) | _BICUBIC | _IMAGENET,
    "DINOv3ViT": _squared(224) | _BILINEAR | _IMAGENET,
    "Tipsv2": {"do_normalize": False} | _squared(448) | _BILINEAR,
}
_SIDE_IS_SQUARE = {"Siglip", "ViT", "DeiT", "Blip", "EfficientNet", "DINOv3ViT", "Tipsv2"}  # a size of one number
_NEEDED = ("size", "resample")
# the fingerprint holds these; the first eight were in it before there were others
_DESCRIBED = (
    "do_resize",
    "size",
    "resample",
    "do_center_crop",
    "crop_size",
    "rescale_factor",
    "image_mean",
    "image_std",
    "crop_pct",
    "rescale_offset",
    "include_top",
)


def read_image_processor(folder: Path) -> dict[str, Any]:
    """Return the settings of the image processor of a checkpoint, with what its class takes for missing ones.

    Raises:
        EncoderError: there are none, or a setting is missing that would have to be guessed.
    """
    source, settings = _read(folder)
    kind = _class_of(settings)
    complete = {**_COMMON, **DEFAULTS.get(kind, {}), **{key: v for key, v in settings.items() if v is not None}}
    needed = [*_NEEDED, *(("image_mean", "image_std") if complete["do_normalize"] else ())]
    needed += ["do_center_crop"] if "crop_size" in settings and kind not in DEFAULTS else []
    missing = [key for key in needed if key not in complete]
    if missing:
        raise EncoderError(
            f"{source} does not say {', '.join(missing)}, and its image processor {kind or 'without a name'} is not "
            "known: add what the model was trained with"
        )
    complete, shorter = _with_named_sides(complete, kind, source), None
    if kind == "Levit" and isinstance(complete["size"], dict):  # its size is that of the crop
        shorter = complete["size"].get("shortest_edge")
    return complete | ({"size": {"shortest_edge": int(256 / 224 * shorter)}} if isinstance(shorter, int) else {})


def preprocessing_of(settings: dict[str, Any], folder: Path) -> Preprocessing:
    """Return the preprocessing that the settings describe; raises EncoderError where it is no resize and crop."""
    try:
        preprocessing = Preprocessing.of_processor(settings)
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError):  # values of other kinds
        preprocessing = None
    if preprocessing is None:
        raise EncoderError(
            f"the image processing of {folder} is not supported ({described(settings)}): expected a resize to one "
            "size, or a resize of the shorter side and a center crop. Export the model to ONNX, and describe its "
            "preprocessing in a YAML file"
        )
    return preprocessing


def described(settings: dict[str, Any]) -> str:
    """Return the settings that change pixels, as JSON with sorted keys."""
    kept = {name: settings[name] for name in _DESCRIBED if settings.get(name) is not None}
    kept |= {name: False for name in ("do_rescale", "do_normalize") if settings.get(name) is False}
    return json.dumps(kept, default=int, sort_keys=True)


def _read(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the settings and their file; as in transformers, those of the whole processor come first."""
    for name, part in (("processor_config.json", "image_processor"), ("preprocessor_config.json", None)):
        file = folder / name
        if not file.is_file():
            continue
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise EncoderError(f"{file} cannot be read: {error}") from error
        if part is None and not isinstance(settings, dict):
            raise EncoderError(f"{file} holds a {type(settings).__name__}, expected an object")
        if part is not None:
            settings = settings.get(part) if isinstance(settings, dict) else None
        if isinstance(settings, dict):
            return file, settings
    raise EncoderError(
        f"{folder} has no preprocessor_config.json, which says how an image becomes the input of the model: copy it "
        "from where the checkpoint comes from"
    )


def _class_of(settings: dict[str, Any]) -> str:
    """Return the class of the image processor without its ending; old files call it a feature extractor."""
    name = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    return name.removesuffix("Fast").removesuffix("Pil").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")


def _with_named_sides(settings: dict[str, Any], kind: str, source: Path) -> dict[str, Any]:
    """Replace sizes that are one number, as in old files, or a pair, by the sides that they mean."""
    for key, is_square in (("size", kind in _SIDE_IS_SQUARE), ("crop_size", True)):
        value = settings.get(key)
        if isinstance(value, int):
            if key == "size" and kind not in DEFAULTS:
                raise EncoderError(f"{source} gives the size {value}, but does not say of which sides of an image")
            settings[key] = {"height": value, "width": value} if is_square else {"shortest_edge": value}
        elif isinstance(value, list) and len(value) == 2:
            settings[key] = {"height": value[0], "width": value[1]}
    return settings
