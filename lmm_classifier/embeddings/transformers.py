"""Any image tower of transformers, and for label names the text tower of its checkpoint.

SigLIP: arXiv 2303.15343; SigLIP 2: arXiv 2502.14786; CLIP: arXiv 2103.00020; DINOv3: arXiv 2508.10104.
`model_types` has the types whose embedding is known; others need `pooling`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from PIL.Image import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.checkpoints import (
    HUB,
    HubOptions,
    checkpoint_digest,
    quantization,
    read_config,
    resolve_checkpoint,
)
from lmm_classifier.core.devices import choose_device, choose_dtype, require_device
from lmm_classifier.core.errors import EncoderError, LmmClassifierError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.paths import model_name
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.core.text import first_line
from lmm_classifier.embeddings.base import CosineEncoder
from lmm_classifier.embeddings.checkpoint_parts import load_part
from lmm_classifier.embeddings.image_processor import described, preprocessing_of, read_image_processor
from lmm_classifier.embeddings.image_tower import load_image_tower
from lmm_classifier.embeddings.model_types import Pooling, choose_pooling, find_model_type
from lmm_classifier.embeddings.preprocessing import Preprocessing
from lmm_classifier.embeddings.text_tower import TextTower
from lmm_classifier.embeddings.torch_runner import AS_CHOSEN, BatchedTorchModel, ForwardOptions

_EXTRA = "siglip"
_PASSES = 4  # forward passes in one call
_MIN_IMAGES = 8  # in one call
_MAX_ASPECT = 4  # longer images are cropped to this ratio first


class TransformersEncoder(CosineEncoder):
    """A vision tower by hub name or local folder; local files are used before any download.

    Images are computed in batches of one fixed shape, so that a vector does not depend on its batch; see
    `BatchedTorchModel` for their size. `preprocessing` resizes an image by the checkpoint's own settings. Only where
    images keep their aspect ratio (SigLIP 2 NaFlex), an image processor of transformers does.
    """

    preprocessing: Preprocessing | None = None
    encode_texts: Callable[[Sequence[str]], Float32Array]
    """Return normalized embeddings (n, dim) of texts in the same space; the first call loads the text tower.

    Only an encoder whose checkpoint has a text tower has this method.
    """

    def __init__(
        self,
        model: str = "google/siglip-so400m-patch14-384",
        hub: HubOptions = HUB,
        device: str = "auto",
        dtype: str = "auto",
        forward: ForwardOptions = AS_CHOSEN,
        pooling: Pooling = "auto",
    ) -> None:
        self._torch = import_optional("torch", _EXTRA)
        import_optional("transformers", _EXTRA)
        self._forward = forward
        self._texts: TextTower | None = None
        self._device = choose_device(self._torch, device)
        try:
            require_device(self._torch, self._device)
        except ValueError as error:
            raise EncoderError(f"encoder.device: {error}") from None
        self._dtype = choose_dtype(self._torch, dtype, self._device)
        if forward.threads:
            self._torch.set_num_threads(forward.threads)
        try:
            self.folder: Path = resolve_checkpoint(model, hub.revision, hub.cache_dir, hub.allow_download, _EXTRA)
            self._open(pooling)
            self.fingerprint: Fingerprint = self._identify(model)
        except EncoderError as error:
            raise EncoderError(f"cannot load the encoder {model!r}: {error}") from error
        except LmmClassifierError:
            raise
        except Exception as error:
            raise EncoderError(_loading_error(model, error, found=hasattr(self, "folder"))) from error
        if self._kind.text is not None and self._tower.pooling == "features":
            self.encode_texts = self._encode_texts

    @property
    def batch_size(self) -> int:
        """Images of several forward passes, so that copies to the device overlap with the passes.

        It is a multiple of the images in one pass. A call with another number computes images that nobody asked for.
        """
        return self._run.batch * max(_PASSES, -(-_MIN_IMAGES // self._run.batch))

    @property
    def vision(self) -> Any:
        """The image tower of torch."""
        return self._tower.model

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
        """Encode images one by one with the library's own image processor and forward pass, as a reference.

        Where the library has no image processor that works without torchvision, `preprocessing` takes its place.
        """
        rows, processor = [], self._library_processor()
        for image in images:
            if processor is None:
                assert self.preprocessing is not None
                values = self.preprocessing.scaled([self.preprocessing.preprocess(image)])
                inputs = {"pixel_values": self._torch.from_numpy(values)}
            else:
                inputs = dict(processor(images=[_bounded(image, processor)], return_tensors="pt"))
            with self._torch.inference_mode():
                rows.append(self.features(**{name: tensor.to(self._device) for name, tensor in inputs.items()})[0])
        numbers = [row.float().cpu().numpy() for row in rows]
        return self._embeddings(np.array(numbers, np.float32).reshape(len(rows), self.fingerprint.dim))

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
        return self._tower.embeddings(inputs)

    def _encode_texts(self, texts: Sequence[str]) -> Float32Array:
        if self._texts is None:
            assert self._kind.text is not None
            self._texts = TextTower(self.folder, self._kind.text, self.vision, self._dtype, self._device, self._forward)
        return self._embeddings(self._texts.encode(texts, self.fingerprint.dim))

    def _embeddings(self, rows: Float32Array) -> Float32Array:
        return self._normalized(rows, f" in {self.fingerprint.dtype} on {self._device}; try encoder.dtype: float32")

    def _open(self, pooling: Pooling) -> None:
        """Load the settings of the image processor and the image tower."""
        config = read_config(self.folder)
        if (method := quantization(config)) is not None:  # the tower would take its integers for the weights
            raise EncoderError(f"its weights are quantized ({method}): name a checkpoint in bfloat16 or float32")
        self._kind = find_model_type(config)
        chosen = choose_pooling(self._kind, pooling, str(config["model_type"]))
        self._processor: Any = None
        if self._kind.processor is not None:
            self._processor = load_part(self.folder, self._kind.processor)
            self._settings = self._processor.to_dict()
            patches = int(self._processor.max_num_patches)
            self.image_size = int(self._processor.patch_size * patches**0.5)
            self._tower = load_image_tower(self.folder, self._kind, chosen, self._device, self._dtype)
            self._tower.require_patch(self._processor.patch_size)
        else:
            self._settings = read_image_processor(self.folder)
            self.preprocessing = preprocessing_of(self._settings, self.folder)
            self.image_size: int = self.preprocessing.side
            self._tower = load_image_tower(self.folder, self._kind, chosen, self._device, self._dtype)
            self._tower.require_size(self.preprocessing.shape)
            patches = self._tower.patches(*self.preprocessing.shape)
        self._run = BatchedTorchModel(self.features, self._device, patches, self._forward)

    def _identify(self, model: str) -> Fingerprint:
        processing = described(self._settings)
        if self._tower.pooling != self._kind.pooling:
            processing = json.dumps({**json.loads(processing), "pooling": self._tower.pooling}, sort_keys=True)
        return Fingerprint(
            backend="transformers",
            model=model_name(model),
            revision=checkpoint_digest(self.folder),
            preprocessing=processing,
            dim=self._tower.known_dim or self._dim(),
            dtype=str(self._dtype).removeprefix("torch."),
        )

    def _dim(self) -> int:
        """Return the numbers in an embedding by a forward pass; raises EncoderError if the model is not usable."""
        pixels = np.arange(96 * 96 * 3, dtype=np.uint32).reshape(96, 96, 3) % 251
        image = self.preprocess(PIL.Image.fromarray(pixels.astype(np.uint8)))
        arrays = image if isinstance(image, Mapping) else {"pixels": image}
        inputs = {
            name: self._torch.from_numpy(np.array(array[None])).to(self._device) for name, array in arrays.items()
        }
        try:
            with self._torch.inference_mode():
                rows = [self.features(**inputs) for _ in range(1 if self._kind.pooling else 2)]
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise EncoderError(f"its forward pass over an image failed: {error}") from error
        if any(row.ndim != 2 or row.shape[0] != 1 for row in rows):
            raise EncoderError(f"it gives an output of shape {tuple(rows[0].shape)} for one image, expected (1, dim)")
        if not self._torch.equal(rows[0], rows[-1]):
            raise EncoderError("it gives another vector each time for one image, such as models with a random mask")
        return int(rows[0].shape[1])

    def _library_processor(self) -> Any:
        if self._processor is None:
            try:
                self._processor = load_part(self.folder, "AutoImageProcessor", backend="pil")
            except (ImportError, OSError, ValueError):
                return None
        return self._processor


def _bounded(image: Image, processor: Any) -> Image:
    """Crop a long image to the ratio that a center crop leaves anyway, before its shorter side is resized."""
    if not getattr(processor, "do_center_crop", False):
        return image
    longest = _MAX_ASPECT * min(image.size)
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _loading_error(model: str, error: Exception, found: bool) -> str:
    reason = first_line(error).rstrip(".")
    if found:
        return f"cannot load the encoder {model!r}: {reason}. Copy or download the files of the checkpoint again"
    return (
        f"cannot load the encoder {model!r} ({reason}). "
        "Do one of three things: download it on a machine with a network and copy the cache (encoder.cache_dir); set "
        "encoder.model to a local folder; or take an encoder that needs no hub (the preset lite, or the preset offline)"
    )
