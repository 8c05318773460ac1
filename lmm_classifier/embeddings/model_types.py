"""The model types of transformers whose embeddings are known: which classes load them, and where the embedding is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lmm_classifier.core.errors import EncoderError

Pooling = Literal["auto", "features", "pooler", "cls", "mean"]


@dataclass(frozen=True, slots=True)
class Text:
    """The text tower of a model type.

    `tower` is the class that loads it alone; None where it is loaded with the whole model. Texts are padded to
    `length` tokens; 0 is the greatest length that the tower takes.
    """

    tower: str | None = None
    length: int = 0
    is_masked: bool = True  # the attention mask is passed on; SigLIP is trained to see the padding
    is_lower: bool = False  # trained on lower-case text, with a tokenizer that leaves capitals


@dataclass(frozen=True, slots=True)
class ModelType:
    """How a type is loaded; `pooling` makes its embedding, None where that would be a guess.

    `tower` is the class that loads the image tower alone, with the projection to the space of texts where there is
    one; None loads the whole model. `features` names the output of that class.
    """

    pooling: Literal["features", "pooler", "cls", "mean"] | None
    tower: str | None = None
    features: str = "pooler_output"
    text: Text | None = None
    processor: str | None = None  # an image processor of transformers, where images keep their aspect ratio


_CLIP_TEXT = Text("CLIPTextModelWithProjection", is_lower=True)
_METACLIP_TEXT = Text("MetaClip2TextModelWithProjection")
_SIGLIP_TEXT = Text("SiglipTextModel", is_masked=False, is_lower=True)
_SIGLIP2_TEXT = Text("Siglip2TextModel", is_masked=False, is_lower=True)

# type in config.json -> how it is loaded; the vision tower of a pair has a type of its own, without a text tower
MODEL_TYPES: dict[str, ModelType] = {
    "siglip": ModelType("features", "SiglipVisionModel", text=_SIGLIP_TEXT),
    "siglip_vision_model": ModelType("features", "SiglipVisionModel"),
    "siglip2": ModelType("features", "Siglip2VisionModel", text=_SIGLIP2_TEXT, processor="Siglip2ImageProcessorPil"),
    "siglip2_vision_model": ModelType("features", "Siglip2VisionModel", processor="Siglip2ImageProcessorPil"),
    "clip": ModelType("features", "CLIPVisionModelWithProjection", "image_embeds", _CLIP_TEXT),
    "clip_vision_model": ModelType("features", "CLIPVisionModelWithProjection", "image_embeds"),
    "metaclip_2": ModelType("features", "MetaClip2VisionModelWithProjection", "image_embeds", _METACLIP_TEXT),
    "metaclip_2_vision_model": ModelType("features", "MetaClip2VisionModelWithProjection", "image_embeds"),
    "altclip": ModelType("features", text=Text(length=77)),
    "align": ModelType("features", text=Text(length=64)),
    "tipsv2": ModelType("features", text=Text(length=64)),
    "aimv2": ModelType("features", text=Text(length=77)),
    "aimv2_vision_model": ModelType("pooler"),
    "dinov2": ModelType("cls"),
    "dinov2_with_registers": ModelType("cls"),
    "dinov3_vit": ModelType("cls"),
    "dinov3_convnext": ModelType("pooler"),
    "convnext": ModelType("pooler"),
    "convnextv2": ModelType("pooler"),
    "hiera": ModelType("pooler"),
    "vit": ModelType("cls"),  # its pooler is often missing in the checkpoint, and then random
    "ijepa": ModelType("mean"),  # it has no class token
}
_UNKNOWN = ModelType(None)


def find_model_type(config: Mapping[str, Any]) -> ModelType:
    """Return how the checkpoint of a `config.json` is loaded; raises EncoderError where it names no type."""
    name = config.get("model_type")
    if not isinstance(name, str) or not name:
        raise EncoderError("its config.json names no model_type, so it is no checkpoint of transformers")
    return MODEL_TYPES.get(name, _UNKNOWN)


def choose_pooling(kind: ModelType, wanted: Pooling, name: str) -> str:
    """Return how the embedding is made; raises EncoderError where `auto` would have to guess."""
    if wanted != "auto":
        return wanted
    if kind.pooling is None:
        raise EncoderError(
            f"its model_type is {name}, and which of its outputs is the embedding would be a guess. "
            "Set encoder.pooling to `features` (a model with a text tower), `pooler` (its pooler_output), `cls` (its "
            "first token) or `mean` (the mean of its image tokens)"
        )
    return kind.pooling
