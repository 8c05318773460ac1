"""The trained tiny Qwen2-VL, and how it is asked. Only running it needs torch."""

import numpy as np
import pytest

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.data.synthetic.shapes import SHAPES
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions
from lmm_classifier.rerank.qwen2_vl import Qwen2VLOptions
from tests.fixtures import TRAINED_TEMPLATE
from tests.helpers.paths import TESTS

CHECKPOINT = TESTS / "fixtures" / "tiny_qwen2_vl"
# the image size of its training: 56 x 56 pixels are 2 x 2 visual tokens
OPTIONS = Qwen2VLOptions(str(CHECKPOINT), dtype="float32", batch_size=16)
BUDGET = VisualTokenBudget(4, 4, 64)
NAMES = PromptOptions(prompt_template=TRAINED_TEMPLATE)


def needs_torch():
    """Skip the test, or the module, where the libraries are not installed that run the checkpoint."""
    for library in ("torch", "transformers"):
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
