"""The tokens that count as an answer, and the probability that the next token is one of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.errors import RerankerError


class AnswerTokens:
    """Finds the single tokens of an answer: as it is, capitalized, and each after a space.

    After "Assistant:" a model answers " A", after a line break it answers "A"; both are the same answer.

    Args:
        tokenizer: the tokenizer of the checkpoint.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: dict[str, list[int]] = {}

    def of(self, answer: str) -> list[int]:
        """Return the tokens of one answer.

        Raises:
            RerankerError: the tokenizer has none.
        """
        if answer not in self._tokens:
            words = dict.fromkeys([answer, answer.capitalize()])
            forms = [form for word in words for form in (word, f" {word}")]
            encoded = [self._tokenizer(form, add_special_tokens=False)["input_ids"] for form in forms]
            single = dict.fromkeys(tokens[0] for tokens in encoded if len(tokens) == 1)
            self._tokens[answer] = [token for token in single if self._is(token, answer)]
        if not self._tokens[answer]:
            raise RerankerError(
                f"The tokenizer of the checkpoint has no single token for the answer {answer!r}, so the model cannot "
                "be asked. Set rerank.model_name to another model."
            )
        return self._tokens[answer]

    def log_probabilities(self, row: Any, answers: tuple[str, ...]) -> Float64Array:
        """Return the log-probability of each answer, given that of each token, (vocabulary,)."""
        return np.array([float(row[self.of(answer)].logsumexp(-1)) for answer in answers])

    def _is(self, token: int, answer: str) -> bool:
        """Return whether a token reads as the answer, unlike the one token that some tokenizers have for all else."""
        return str(self._tokenizer.decode([token])).strip().casefold() == answer.casefold()
