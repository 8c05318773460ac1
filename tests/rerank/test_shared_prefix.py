"""Scoring with a shared prefix: within memory, without rows that see nothing."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank import shared_prefix
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions, make_prompts
from lmm_classifier.rerank.vlm import VlmOptions, VlmReranker
from tests.helpers.tiny_qwen2_vl import loaded, needs_torch

needs_torch()
import torch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers")

BUDGET = VisualTokenBudget(4, 100, 4096, 28)


@pytest.fixture
def scorer(tiny_vlm):
    """A fresh scorer: what one test changes, the next does not see."""
    return loaded(VlmReranker(VlmOptions(str(tiny_vlm("qwen2_5_vl")), dtype="float32", min_option_mass=0.0)))


def noise(seed, size):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def prompts(mode, sizes, count, references=1):
    """The prompts of one request for each size of an image."""
    candidates = tuple(Candidate(f"label {number}", 0.1, ()) for number in range(count))
    examples = tuple(tuple(noise(7 * n + k, (56, 56)) for k in range(references)) for n in range(count))
    options = PromptOptions(mode, references=references)
    requests = [RerankRequest(noise(n, size), candidates, references=examples) for n, size in enumerate(sizes)]
    return [[BUDGET.fit(prompt) for prompt in make_prompts(options, request)] for request in requests]


class Passes:
    """The forward passes of the language model: their masks, and whether they had keys before."""

    def __init__(self, scorer):
        self.seen = []
        scorer._model.model.language_model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _, args, kwargs):
        self.seen.append((kwargs["attention_mask"], kwargs["inputs_embeds"].shape))


SIZES = [(280, 280), (140, 420), (200, 90), (28, 28)]


@pytest.mark.parametrize("mode", ["names", "pairwise"])
def test_no_row_is_without_keys(scorer, mode):
    """Prefixes of different lengths are padded on the right: each row sees at least the first token."""
    passes = Passes(scorer)
    logs = scorer(prompts(mode, SIZES, 3), least_shared=1)
    assert len(passes.seen) == 2  # the prefixes, and what follows
    assert 0 in passes.seen[0][0]  # they differ in length
    assert all(bool((mask[:, 0] == 1).all()) for mask, _ in passes.seen)
    assert all(np.isfinite(row).all() for rows in logs for row in rows)


@pytest.mark.parametrize("mode", ["names", "pairwise"])
def test_prefixes_of_different_lengths_change_no_answer(scorer, mode):
    """Sharing gives the numbers of whole prompts, also for requests of one prompt next to others of several."""
    questions = [*prompts(mode, SIZES, 3), prompts(mode, SIZES[:1], 3)[0][:1]]
    shared = scorer(questions, least_shared=1)
    scorer.share = False
    for rows, expected in zip(shared, scorer(questions), strict=True):
        np.testing.assert_allclose(np.concatenate(rows), np.concatenate(expected), atol=2e-5)


def test_one_large_question_is_split(scorer):
    """Many examples of one request pass in parts of bounded size, with the same answers."""
    questions = prompts("pairwise", [(280, 280)], 8, references=3)
    whole = scorer(questions)
    passes, scorer._batches.most = Passes(scorer), 1000
    for rows, expected in zip(scorer(questions), whole, strict=True):
        np.testing.assert_allclose(np.concatenate(rows), np.concatenate(expected), atol=2e-5)
    assert len(passes.seen) > 4
    assert max(mask.numel() for mask, _ in passes.seen) <= 1000


def test_images_pass_the_vision_tower_in_parts(scorer, monkeypatch):
    """So many patches at a time that memory suffices; each image once, and features are stored without the others'."""
    monkeypatch.setattr(shared_prefix, "_MAX_PATCHES", 500)
    counts = []
    scorer._model.model.visual.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    scorer(prompts("references", SIZES, 4))
    distinct = {shared_prefix._digest(part) for request in prompts("references", SIZES, 4) for prompt in request
                for part in prompt.parts if not isinstance(part, str)}  # fmt: skip
    assert len(counts) > 1
    assert max(counts) <= 500
    assert distinct <= scorer._features.keys()
    for features, _ in scorer._features.values():
        assert features.untyped_storage().nbytes() == features.nbytes


def test_stored_features_are_bounded(scorer, monkeypatch):
    """Images that were not used for longest are forgotten, never those that are needed now."""
    monkeypatch.setattr(shared_prefix, "_MAX_CACHED_TOKENS", 120)
    first = scorer(prompts("names", SIZES[:1], 3))
    for size in SIZES:
        scorer(prompts("names", [size], 3))
        assert sum(len(rows) for rows, _ in scorer._features.values()) <= 120
    np.testing.assert_array_equal(np.concatenate(scorer(prompts("names", SIZES[:1], 3))[0]), np.concatenate(first[0]))


@pytest.mark.long
def test_a_lack_of_memory_ends_in_smaller_batches(scorer):
    """The first passes fail as on a full device; the answers come all the same, and no weight is loaded again."""
    questions = prompts("names", SIZES, 3)
    expected = scorer(questions)
    run, most = scorer._run, 2

    def small(values, *others):
        if len(values) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(values, *others)

    scorer._run = small
    for rows, wanted in zip(scorer(questions), expected, strict=True):
        np.testing.assert_allclose(np.concatenate(rows), np.concatenate(wanted), atol=2e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", shared_prefix.MODEL_TYPES)
def test_cuda_takes_images_of_different_sizes(tiny_vlm, family, dtype):
    """Prefixes of different lengths in one batch give no NaN, and what each gives alone."""
    options = VlmOptions(str(tiny_vlm(family)), device="cuda", dtype=dtype, min_option_mass=0.0)
    scorer = loaded(VlmReranker(options))
    assert isinstance(scorer, shared_prefix.SharedPrefixScorer)
    questions = prompts("names", SIZES, 3)
    for rows, request in zip(scorer(questions, least_shared=1), questions):
        alone = scorer([request], least_shared=1)[0]
        difference = np.abs(np.exp(np.concatenate(rows)) - np.exp(np.concatenate(alone))).max()
        assert difference < (1e-3 if dtype == "float32" else 2e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_weights_go_straight_to_the_gpu(tiny_vlm):
    """The device and the number type are those that were asked for."""
    options = replace(VlmOptions(str(tiny_vlm("qwen2_vl")), min_option_mass=0.0), device="cuda:0", dtype="bfloat16")
    model = loaded(VlmReranker(options))._model
    assert {str(weight.device) for weight in model.parameters()} == {"cuda:0"}
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
