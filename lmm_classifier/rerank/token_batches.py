"""Batches of prompts whose forward pass fits in the memory of the device."""

from __future__ import annotations

import gc
import logging
from collections import deque
from collections.abc import Callable, Sequence
from traceback import clear_frames
from typing import Any

from lmm_classifier.core.devices import is_out_of_memory
from lmm_classifier.core.errors import RerankerError

logger: logging.Logger = logging.getLogger(__name__)

MAX_BATCH_TOKENS = 32_768  # with padding; at the width of a 7B model their activations and keys take some gigabytes


class TokenBatches:
    """Computes prompts in batches of bounded size; the bound is halved, for good, where memory runs out.

    Args:
        torch: the library.
        device: the device of the model, such as `cuda:0`.
        most: most tokens of one batch, padding included.
    """

    def __init__(self, torch: Any, device: str, most: int = MAX_BATCH_TOKENS) -> None:
        self._torch, self._device = torch, device
        self.most: int = most

    def run(
        self, lengths: Sequence[int], requests: Sequence[int], compute: Callable[[list[int]], Sequence[Any]]
    ) -> list[Any]:
        """Return the result of each prompt, in order.

        Args:
            lengths: tokens of each prompt.
            requests: number of the request that each prompt belongs to; prompts of one request are adjacent. They share
                a batch unless they exceed it alone.
            compute: returns the results of a batch, given the positions of its prompts.

        Raises:
            RerankerError: one prompt alone does not fit in memory.
        """
        results: list[Any] = [None] * len(lengths)
        waiting = deque(range(len(lengths)))
        while waiting:
            batch = self._first(waiting, lengths, requests)
            computed = self._attempt(compute, batch)
            if computed is None:
                self._halve(len(batch) * max(lengths[position] for position in batch), len(batch))
                continue
            for position, result in zip(batch, computed, strict=True):
                results[position] = result
                waiting.popleft()
        return results

    def _first(self, waiting: deque[int], lengths: Sequence[int], requests: Sequence[int]) -> list[int]:
        batch: list[int] = []
        longest = 0
        for position in waiting:
            longest = max(longest, lengths[position])
            if batch and (len(batch) + 1) * longest > self.most:
                whole = [other for other in batch if requests[other] != requests[position]]
                return whole or batch  # a request that is split would pass its shared prefix twice
            batch.append(position)
        return batch

    def _attempt(self, compute: Callable[[list[int]], Sequence[Any]], batch: list[int]) -> Sequence[Any] | None:
        """Return the results, or None where memory ran out; the tensors of the failed pass are gone then."""
        try:
            return compute(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            clear_frames(error.__traceback__)  # their tensors live as long as anything holds the error
        return None

    def _halve(self, tokens: int, prompts: int) -> None:
        gc.collect()  # tensors of the failed pass that a cycle holds
        if self._device.startswith("cuda"):
            self._torch.cuda.empty_cache()
        if prompts == 1:
            raise RerankerError(
                f"The memory of {self._device} is too small for one prompt of {tokens} tokens. Lower "
                "rerank.prompt.max_visual_tokens or max_request_tokens, or choose a smaller model."
            )
        self.most = min(self.most, tokens) // 2
        logger.warning("The memory of %s is too small: now %d tokens at a time.", self._device, self.most)
