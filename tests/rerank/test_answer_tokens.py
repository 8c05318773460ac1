"""The tokens that count as an answer."""

import math

import numpy as np
import pytest

from lmm_classifier.core.errors import RerankerError
from lmm_classifier.rerank.answer_tokens import AnswerTokens


class Words:
    """A tokenizer that knows some words, and has one token for all others, as those of WordLevel do."""

    def __init__(self, *words):
        self.words = ["<unk>", *words]

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [self.words.index(text) if text in self.words else 0]}

    def decode(self, tokens):
        return "".join(self.words[token] for token in tokens)


class Row(np.ndarray):
    """An array with the one method of a tensor that is used."""

    def logsumexp(self, _):
        return math.log(np.exp(np.asarray(self)).sum())


def test_an_answer_counts_in_each_of_its_forms():
    """With and without a space before it, and capitalized; other words do not count."""
    tokens = AnswerTokens(Words("yes", " yes", "Yes", " Yes", "no", "yesterday", "YES"))
    assert sorted(tokens.of("yes")) == [1, 2, 3, 4]
    assert tokens.of("no") == [5]


def test_the_probabilities_of_all_forms_add_up():
    tokens = AnswerTokens(Words("A", " A", "B"))
    row = np.log(np.array([0.1, 0.2, 0.3, 0.4])).view(Row)
    np.testing.assert_allclose(np.exp(tokens.log_probabilities(row, ("A", "B"))), [0.5, 0.4])


def test_an_unknown_word_is_no_answer():
    """The one token for everything that a tokenizer does not know is the answer to nothing."""
    with pytest.raises(RerankerError, match="no single token for the answer 'C'"):
        AnswerTokens(Words("A", "B")).of("C")
