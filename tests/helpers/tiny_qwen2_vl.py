"""The trained tiny Qwen2-VL, and how it is asked. Only running it needs torch."""

import random

import numpy as np
import pytest

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.data.synthetic.shapes import SHAPES, draw_labeled
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions
from lmm_classifier.rerank.vlm import VlmOptions, VlmReranker
from tests.fixtures import TRAINED_TEMPLATE
from tests.helpers.paths import TESTS

CHECKPOINT = TESTS / "fixtures" / "tiny_qwen2_vl"
# the image size of its training: 56 x 56 pixels are 2 x 2 visual tokens
OPTIONS = VlmOptions(str(CHECKPOINT), dtype="float32", batch_size=16)
BUDGET = VisualTokenBudget(4, 4, 64)
NAMES = PromptOptions(prompt_template=TRAINED_TEMPLATE)


def needs_torch():
    """Skip the test, or the module, where the libraries are not installed that run the checkpoint."""
    for library in ("torch", "transformers", "accelerate"):
        pytest.importorskip(library, reason=f"{library} is not installed")


def ask(label, image, rng, count=4):
    """A request with the right label and others, in random order."""
    labels = [label, *rng.sample([name for name in SHAPES if name != label], count - 1)]
    rng.shuffle(labels)
    return RerankRequest(image, tuple(Candidate(name, 1 / count, ()) for name in labels))


def chosen(request, answer):
    """The label that an answer prefers."""
    assert answer.failure == ""
    return request.candidates[int(np.argmax(answer.scores))].label


def loaded(reranker):
    """The scorer of a reranker, with its model."""
    return reranker._open()


def biased(tmp_path, strength):
    """Save the checkpoint with a bias for the letter A, its output row moved along the mean state before an answer."""
    import torch

    reranker = VlmReranker(OPTIONS, NAMES, BUDGET)
    score = loaded(reranker)
    states = []
    hook = score._model.lm_head.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0].detach()))
    rng = random.Random(2)
    reranker.rerank([ask(label, image, rng) for label, image in draw_labeled(2, seed=5)])
    hook.remove()
    mean = torch.cat(states).mean(0)
    head = score._model.lm_head.weight.detach().clone()
    head[score.answers.of("A")[0]] += strength * mean / mean.square().sum()
    score._model.config.tie_word_embeddings = score._model.config.text_config.tie_word_embeddings = False
    score._model.lm_head.weight = torch.nn.Parameter(head)
    score._model.save_pretrained(tmp_path)
    score.processor.tokenizer.save_pretrained(tmp_path)
    score.processor.image_processor.save_pretrained(tmp_path)
    return str(tmp_path)
