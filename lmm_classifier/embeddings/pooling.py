"""Reduce the output of an image tower to one vector per image."""

from __future__ import annotations

from typing import Any

from lmm_classifier.core.errors import EncoderError


def pooled(output: Any, pooling: str, patches: int) -> Any:
    """Return the embeddings (b, dim) of the output of an image tower of transformers.

    Args:
        output: has `last_hidden_state`: tokens (b, t, dim) or a map (b, dim, h, w); maybe `pooler_output` (b, dim).
        pooling: pooler, cls or mean.
        patches: patches in an image. Of more tokens, `mean` takes the last ones: class and register tokens come first.

    Raises:
        EncoderError: the output does not have that.
    """
    if pooling == "pooler":
        if (embeddings := getattr(output, "pooler_output", None)) is None:
            raise EncoderError("it has no pooler; set encoder.pooling to cls or mean")
        return embeddings.flatten(1)  # some give a map of 1 x 1
    tokens = getattr(output, "last_hidden_state", None)
    if tokens is None or tokens.ndim not in (3, 4):
        raise EncoderError("it gives neither tokens nor a map of them; set encoder.pooling to features or pooler")
    if tokens.ndim == 4:
        if pooling == "cls":
            raise EncoderError("it has no class token; set encoder.pooling to pooler or mean")
        return tokens.mean(dim=(2, 3))
    return tokens[:, 0] if pooling == "cls" else tokens[:, max(tokens.shape[1] - patches, 0) :].mean(dim=1)
