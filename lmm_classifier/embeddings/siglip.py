"""SigLIP, SigLIP 2 and CLIP through transformers: the image tower for pictures, the text tower for label names.

SigLIP: arXiv 2303.15343; SigLIP 2: arXiv 2502.14786; CLIP: arXiv 2103.00020.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from lmm_classifier.checkpoint import checkpoint_folder, content_digest, quiet_transformers
from lmm_classifier.datatypes import Fingerprint
from lmm_classifier.errors import EncoderError, LmmClassifierError
from lmm_classifier.lazy import load, load_module
from lmm_classifier.protocols import FloatArray
from lmm_classifier.spaces import IdentityRecipe
from lmm_classifier.torch_device import choose_device, choose_dtype

_EXTRA = "siglip"
_MAX_ASPECT = 4  # a longer picture is cropped to this ratio before its shorter side is resized (CLIP crops it anyway)
_PROCESSING = (
    "do_resize",
    "size",
    "resample",
    "do_center_crop",
    "crop_size",
    "rescale_factor",
    "image_mean",
    "image_std",
)


@dataclass(frozen=True, slots=True)
class Family:
    """The classes of a model type, and the output that holds its embedding."""

    vision: str
    text: str
    processor: str
    image_output: str
    text_output: str


_FAMILIES = {
    "siglip": Family(
        "SiglipVisionModel", "SiglipTextModel", "SiglipImageProcessorPil", "pooler_output", "pooler_output"
    ),
    "siglip2": Family(
        "Siglip2VisionModel", "Siglip2TextModel", "Siglip2ImageProcessorPil", "pooler_output", "pooler_output"
    ),
    "clip": Family(
        "CLIPVisionModelWithProjection",
        "CLIPTextModelWithProjection",
        "CLIPImageProcessorPil",
        "image_embeds",
        "text_embeds",
    ),
}


class SiglipEncoder:
    """A vision tower by hub name or local folder; local files are tried before any download.

    Pictures are computed in batches of one fixed shape, so that a vector does not depend on its batch: of 1 on a CPU,
    where larger batches gain next to nothing, of 16 on an accelerator.
    """

    def __init__(
        self,
        model: str = "google/siglip-so400m-patch14-384",
        revision: str | None = None,
        cache_dir: Path | None = None,
        allow_download: bool = True,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self._torch = load_module("torch", _EXTRA)
        load_module("transformers", _EXTRA)
        try:
            self._folder = checkpoint_folder(model, revision, cache_dir, allow_download, _EXTRA)
            self._family = self._find_family()
            self._device = choose_device(self._torch, device)
            self._dtype = choose_dtype(self._torch, dtype, self._device)
            self._processor = self._load(self._family.processor)
            self._vision = self._tower(self._family.vision, "vision_config")
        except LmmClassifierError:
            raise
        except Exception as error:
            raise EncoderError(_ways_on(model, error)) from error
        self._batch = 1 if self._device == "cpu" else 16
        self._text: Any = None
        self._fingerprint = self._identify(model)

    @property
    def fingerprint(self) -> Fingerprint:
        """The model, its weights by content, its preprocessing and number type."""
        return self._fingerprint

    @property
    def space(self) -> IdentityRecipe:
        """These vectors are made for cosines: they are compared as they are."""
        return IdentityRecipe()

    @property
    def image_size(self) -> int:
        """The side in pixels of the picture that the tower sees."""
        size = self._processor.size
        if size is not None and ("height" in size or "shortest_edge" in size):
            return int(size["height"] if "height" in size else size["shortest_edge"])
        return int(self._processor.patch_size * self._processor.max_num_patches**0.5)  # SigLIP 2 of free aspect

    def encode_images(self, images: Sequence[Image]) -> FloatArray:
        """Encode upright RGB pictures as unit rows (n, dim); raises EncoderError on values that are not finite."""
        return self._in_batches(list(map(self._bounded, images)), self._encode_image_batch)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts as unit rows (n, dim) of the same space; the text tower is loaded at the first call."""
        if self._text is None:
            try:
                self._tokenizer = self._load("AutoTokenizer")
                self._text = self._tower(self._family.text, "text_config")
            except Exception as error:
                raise EncoderError(f"cannot load the text tower of {self._folder}: {error}") from error
        # SigLIP was trained on lower-case text, and every tokenizer of these families accepts it
        return self._in_batches([text.lower() for text in texts], self._encode_text_batch)

    def _in_batches(self, items: Sequence[Any], encode: Any) -> FloatArray:
        out = np.empty((len(items), self._fingerprint.dim), np.float32)
        for start in range(0, len(items), self._batch):
            part = items[start : start + self._batch]
            padded = [*part, *[part[-1]] * (self._batch - len(part))]
            with self._torch.inference_mode():
                rows = encode(padded).float().cpu().numpy()  # (batch, dim)
            out[start : start + len(part)] = rows[: len(part)]
        lengths = np.linalg.norm(out.astype(np.float64), axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise EncoderError(
                f"{self._fingerprint.model} gave a vector without a direction in {self._fingerprint.dtype} on "
                f"{self._device}; try encoder.dtype: float32"
            )
        unit: FloatArray = (out / lengths).astype(np.float32)
        return unit

    def _encode_image_batch(self, images: list[Image]) -> Any:
        inputs = self._processor(images=images, return_tensors="pt")
        inputs = {name: tensor.to(self._device) for name, tensor in inputs.items()}
        inputs["pixel_values"] = inputs["pixel_values"].to(self._dtype)
        return getattr(self._vision(**inputs), self._family.image_output)

    def _encode_text_batch(self, texts: list[str]) -> Any:
        length = self._text.config.max_position_embeddings  # SigLIP gives wrong vectors at any other padding
        tokens = self._tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        names = ("input_ids",) if self._family.text.startswith("Siglip") else ("input_ids", "attention_mask")
        inputs = {name: tokens[name].to(self._device) for name in names}
        return getattr(self._text(**inputs), self._family.text_output)

    def _bounded(self, image: Image) -> Image:
        if not getattr(self._processor, "do_center_crop", False):
            return image
        longest = _MAX_ASPECT * min(image.size)
        width, height = min(image.width, longest), min(image.height, longest)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))

    def _find_family(self) -> Family:
        config = json.loads((self._folder / "config.json").read_text(encoding="utf-8"))
        kind = str(config.get("model_type", "")).removesuffix("_vision_model")
        if kind not in _FAMILIES:
            raise ValueError(f"it is a {kind or 'nameless'} model, expected one of {', '.join(_FAMILIES)}")
        return _FAMILIES[kind]

    def _load(self, name: str, **options: Any) -> Any:
        with quiet_transformers(_EXTRA):
            return load("transformers", name, _EXTRA).from_pretrained(self._folder, local_files_only=True, **options)

    def _tower(self, name: str, part: str) -> Any:
        """Load one tower of the checkpoint, on its device and in its number type."""
        config = self._load("AutoConfig")
        own = getattr(config, part, config)
        if self._family.image_output == "image_embeds":  # the whole checkpoint's word counts, the tower's is a default
            own.projection_dim = config.projection_dim
        loaded = self._load(name, config=own, dtype=self._dtype, use_safetensors=True)
        return loaded.to(self._device).eval()

    def _identify(self, model: str) -> Fingerprint:
        vision = self._vision.config
        said = self._processor.to_dict()
        processing = {name: said[name] for name in _PROCESSING if said.get(name) is not None}
        return Fingerprint(
            backend="siglip",
            model=Path(model).name if Path(model).is_dir() else model,
            revision=content_digest(self._folder),
            preprocessing=json.dumps(processing, default=int, sort_keys=True),
            dim=vision.projection_dim if self._family.image_output == "image_embeds" else vision.hidden_size,
            dtype=str(self._dtype).removeprefix("torch."),
        )


def _ways_on(model: str, error: Exception) -> str:
    return (
        f"cannot load the encoder {model!r} ({str(error).splitlines()[0] if str(error) else type(error).__name__}). "
        "Three ways on: download it on a machine with a network and copy the cache (encoder.cache_dir); point "
        "encoder.model at a local folder; or set encoder.backend: descriptor (config/offline.yaml)"
    )
