"""The text tower of a checkpoint of transformers: texts become embeddings in the space of the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import EncoderError, MissingExtraError
from lmm_classifier.core.optional_imports import is_installed
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.embeddings.checkpoint_parts import load_part, load_tower
from lmm_classifier.embeddings.model_types import Text
from lmm_classifier.embeddings.torch_runner import BatchedTorchModel, ForwardOptions

_EXTRA = "siglip"
_LIBRARIES = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}  # by module, as pip knows them


class TextTower:
    """A text tower and its tokenizer.

    Args:
        folder: the checkpoint.
        text: how its type takes texts.
        model: the whole model where it is loaded already, else None.
        dtype: number type of torch.
        device: where it computes.
        forward: how forward passes run.

    Raises:
        EncoderError: the tower cannot be loaded.
        MissingExtraError: its tokenizer needs a library that is not installed.
    """

    def __init__(self, folder: Path, text: Text, model: Any, dtype: Any, device: str, forward: ForwardOptions) -> None:
        self._text, self._folder = text, folder
        try:
            self._tokenizer = load_part(folder, "AutoTokenizer")
            self._model = model
            if text.tower is not None:
                self._model = load_tower(folder, text.tower, "text", dtype).to(device).eval()
        except Exception as error:
            _require_tokenizer_libraries(folder)
            raise EncoderError(f"cannot load the text tower of {folder}: {error}") from error
        self._length = text.length or int(self._model.config.max_position_embeddings)
        self._run = BatchedTorchModel(self._features, device, self._length, forward)

    def encode(self, texts: Sequence[str], dim: int) -> Float32Array:
        """Return embeddings (n, dim), not normalized."""
        return self._run([self._tokens_of(text.lower() if self._text.is_lower else text) for text in texts], dim)

    def _tokens_of(self, text: str) -> Preprocessed:
        # SigLIP gives wrong vectors with any other padding; for all types, a fixed length gives equal bits
        tokens = self._tokenizer(
            [text], padding="max_length", max_length=self._length, truncation=True, return_tensors="np"
        )
        names = ("input_ids", "attention_mask") if self._text.is_masked else ("input_ids",)
        return {name: np.asarray(tokens[name][0]) for name in names}

    def _features(self, **inputs: Any) -> Any:
        if self._text.tower is None:
            output = self._model.get_text_features(**inputs)
            return getattr(output, "pooler_output", output)
        output = self._model(**inputs)
        return output.pooler_output if getattr(output, "text_embeds", None) is None else output.text_embeds


def _require_tokenizer_libraries(folder: Path) -> None:
    """Raise MissingExtraError if the tokenizer cannot be loaded because a library is not installed."""
    missing = [name for module, name in _LIBRARIES.items() if not is_installed(module)]
    if missing and any(folder.glob("*.model")):  # the format of sentencepiece
        raise MissingExtraError(
            f"The tokenizer of {folder} needs {' and '.join(missing)}, not installed: "
            f"pip install 'lmm-classifier[{_EXTRA}]'"
        )
