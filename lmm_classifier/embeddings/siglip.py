"""SigLIP, SigLIP 2 and CLIP through transformers: the image tower for images, the text tower for label names.

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

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.checkpoints import checkpoint_digest, quiet_transformers, read_config, resolve_checkpoint
from lmm_classifier.core.devices import choose_device, choose_dtype
from lmm_classifier.core.errors import EncoderError, LmmClassifierError, MissingExtraError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.optional_imports import import_attribute, import_optional, is_installed
from lmm_classifier.core.paths import model_name
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.embeddings.base import CosineEncoder
from lmm_classifier.embeddings.preprocessing import Preprocessing
from lmm_classifier.embeddings.torch_runner import AS_CHOSEN, BatchedTorchModel, ForwardOptions

_EXTRA = "siglip"
_TOKENIZER_LIBRARIES = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}  # by module, as pip knows them
_MAX_ASPECT = 4  # longer images are cropped to this ratio before their shorter side is resized; CLIP crops them anyway
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
    """The classes of a model type, and the outputs that hold its embeddings."""

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


class SiglipEncoder(CosineEncoder):
    """A vision tower by hub name or local folder; local files are used before any download.

    Images are computed in batches of one fixed shape, so that a vector does not depend on its batch; see
    `BatchedTorchModel` for their size. `preprocessing` resizes an image where the checkpoint's processing is a plain
    resize or crop. Otherwise (SigLIP 2 with free aspect) transformers does.
    """

    def __init__(
        self,
        model: str = "google/siglip-so400m-patch14-384",
        revision: str | None = None,
        cache_dir: Path | None = None,
        allow_download: bool = True,
        device: str = "auto",
        dtype: str = "auto",
        forward: ForwardOptions = AS_CHOSEN,
    ) -> None:
        self._torch = import_optional("torch", _EXTRA)
        import_optional("transformers", _EXTRA)
        try:
            self.folder = resolve_checkpoint(model, revision, cache_dir, allow_download, _EXTRA)
            self._family = self._find_family()
            self._device = choose_device(self._torch, device)
            self._dtype = choose_dtype(self._torch, dtype, self._device)
            if forward.threads:
                self._torch.set_num_threads(forward.threads)
            self._processor = self._load(self._family.processor)
            self.vision = self._tower(self._family.vision, "vision_config")
            self._digest = checkpoint_digest(self.folder)
        except LmmClassifierError:
            raise
        except Exception as error:
            raise EncoderError(_loading_error(model, error)) from error
        settings = self._processor.to_dict()
        self.preprocessing = None if self._family is _FAMILIES["siglip2"] else Preprocessing.of_processor(settings)
        self.image_size = self._find_image_size()
        self._run = BatchedTorchModel(self.features, self._device, self._patches(), forward)
        self._text: Any = None
        self._forward = forward
        self.fingerprint = self._identify(model, settings)

    @property
    def batch_size(self) -> int:
        """Images of several forward passes, so that copies to the device overlap with the passes."""
        return max(8, 4 * self._run.batch)

    def preprocess(self, image: Image) -> Preprocessed:
        """Reduce an upright RGB image to the pixels (height, width, 3) or patches that the tower takes."""
        if self.preprocessing is not None:
            return self.preprocessing.preprocess(image)
        inputs = self._processor(images=[image], return_tensors="np")
        return {name: np.asarray(array[0]) for name, array in inputs.items()}

    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:
        """Return normalized embeddings (n, dim); raises EncoderError on values that are not finite."""
        return self._embeddings(self._run(preprocessed, self.fingerprint.dim))

    def encode_as_transformers(self, images: Sequence[Image]) -> Float32Array:
        """Encode images one by one with the library's own image processor and forward pass, as a reference."""
        rows = []
        for image in images:
            inputs = self._processor(images=[self._bounded(image)], return_tensors="pt").to(self._device)
            inputs["pixel_values"] = inputs["pixel_values"].to(self._dtype)
            with self._torch.inference_mode():
                rows.append(getattr(self.vision(**inputs), self._family.image_output).float().cpu().numpy()[0])
        return self._embeddings(np.array(rows, np.float32).reshape(len(rows), self.fingerprint.dim))

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """Return normalized embeddings (n, dim) of texts in the same space; the first call loads the text tower."""
        if self._text is None:
            try:
                self._tokenizer = self._load("AutoTokenizer")
                self._text = self._tower(self._family.text, "text_config")
            except Exception as error:
                self._require_tokenizer_libraries()
                raise EncoderError(f"cannot load the text tower of {self.folder}: {error}") from error
            length = self._text.config.max_position_embeddings
            self._run_text = BatchedTorchModel(self._text_features, self._device, length, self._forward)
        # SigLIP was trained on lower-case text, and every tokenizer of these families accepts it
        preprocessed = [self._tokens_of(text.lower()) for text in texts]
        return self._embeddings(self._run_text(preprocessed, self.fingerprint.dim))

    def features(self, **inputs: Any) -> Any:
        """Run the forward pass on the device.

        Args:
            inputs: `pixels`, bytes (b, h, w, 3), or the outputs of transformers' image processor.

        Returns:
            Features (b, dim), not normalized.
        """
        if (pixels := inputs.pop("pixels", None)) is not None:
            preprocessing = self.preprocessing
            assert preprocessing is not None
            mean, std = preprocessing.mean, preprocessing.std
            factor = self._torch.tensor([1 / (255 * s) for s in std], device=pixels.device)
            shift = self._torch.tensor([m / s for m, s in zip(mean, std)], device=pixels.device)
            inputs["pixel_values"] = (pixels.float() * factor - shift).permute(
                0, 3, 1, 2
            )  # channels are last in memory
        inputs["pixel_values"] = inputs["pixel_values"].to(self._dtype)
        return getattr(self.vision(**inputs), self._family.image_output)

    def _embeddings(self, rows: Float32Array) -> Float32Array:
        return self._normalized(rows, f" in {self.fingerprint.dtype} on {self._device}; try encoder.dtype: float32")

    def _find_image_size(self) -> int:
        """Return the side in pixels of the image that the tower takes."""
        size = self._processor.size
        if size is not None and ("height" in size or "shortest_edge" in size):
            return int(size["height"] if "height" in size else size["shortest_edge"])
        return int(self._processor.patch_size * self._processor.max_num_patches**0.5)  # SigLIP 2 with free aspect

    def _patches(self) -> int:
        """Return the number of patches of an image; the work and memory of a forward pass grow with it."""
        patch = int(getattr(self.vision.config, "patch_size", 16))
        return max((self.image_size // patch) ** 2, 1)

    def _tokens_of(self, text: str) -> Preprocessed:
        length = self._text.config.max_position_embeddings  # SigLIP gives wrong vectors with any other padding
        tokens = self._tokenizer([text], padding="max_length", max_length=length, truncation=True, return_tensors="np")
        names = ("input_ids",) if self._family.text.startswith("Siglip") else ("input_ids", "attention_mask")
        return {name: np.asarray(tokens[name][0]) for name in names}

    def _require_tokenizer_libraries(self) -> None:
        """Raise MissingExtraError if the tokenizer cannot be loaded because a library is not installed."""
        missing = [name for module, name in _TOKENIZER_LIBRARIES.items() if not is_installed(module)]
        if missing and any(self.folder.glob("*.model")):  # the format of sentencepiece
            raise MissingExtraError(
                f"The tokenizer of {self.folder} needs {' and '.join(missing)}, not installed: "
                f"pip install 'lmm-classifier[{_EXTRA}]'"
            )

    def _text_features(self, **inputs: Any) -> Any:
        return getattr(self._text(**inputs), self._family.text_output)

    def _bounded(self, image: Image) -> Image:
        if not getattr(self._processor, "do_center_crop", False):
            return image
        longest = _MAX_ASPECT * min(image.size)
        width, height = min(image.width, longest), min(image.height, longest)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))

    def _find_family(self) -> Family:
        config = read_config(self.folder)
        kind = str(config.get("model_type", "")).removesuffix("_vision_model")
        if kind not in _FAMILIES:
            raise ValueError(f"it is a {kind or 'nameless'} model, expected one of {', '.join(_FAMILIES)}")
        return _FAMILIES[kind]

    def _load(self, name: str, **options: Any) -> Any:
        with quiet_transformers(_EXTRA):
            return import_attribute("transformers", name, _EXTRA).from_pretrained(
                self.folder, local_files_only=True, **options
            )

    def _tower(self, name: str, part: str) -> Any:
        """Load one tower of the checkpoint, on its device and in its number type."""
        config = self._load("AutoConfig")
        own = getattr(config, part, config)
        if self._family.image_output == "image_embeds":  # the checkpoint's value is right, the tower's is a default
            own.projection_dim = config.projection_dim
        loaded = self._load(name, config=own, attn_implementation="sdpa", dtype=self._dtype, use_safetensors=True)
        if self._device.startswith("cuda"):
            loaded = loaded.to(memory_format=self._torch.channels_last)
        return loaded.to(self._device).eval()

    def _identify(self, model: str, settings: dict[str, Any]) -> Fingerprint:
        vision = self.vision.config
        processing = {name: settings[name] for name in _PROCESSING if settings.get(name) is not None}
        return Fingerprint(
            backend="siglip",
            model=model_name(model),
            revision=self._digest,
            preprocessing=json.dumps(processing, default=int, sort_keys=True),
            dim=vision.projection_dim if self._family.image_output == "image_embeds" else vision.hidden_size,
            dtype=str(self._dtype).removeprefix("torch."),
        )


def _loading_error(model: str, error: Exception) -> str:
    return (
        f"cannot load the encoder {model!r} ({str(error).splitlines()[0] if str(error) else type(error).__name__}). "
        "Do one of three things: download it on a machine with a network and copy the cache (encoder.cache_dir); set "
        "encoder.model to a local folder; or set encoder.backend: descriptor (the preset offline)"
    )
