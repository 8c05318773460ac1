"""Vision-language models of many families answer as their own forward pass does, from saved folder to result."""

import random
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank.aggregation import aggregate
from lmm_classifier.rerank.prompts import PromptOptions, make_prompts
from lmm_classifier.rerank.vlm import VlmOptions, VlmReranker
from tests.helpers.tiny_qwen2_vl import loaded, needs_torch

needs_torch()
import torch  # noqa: E402

from lmm_classifier.rerank.whole_forward import WholeForwardScorer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers")

FAMILIES = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "idefics3", "gemma3", "internvl"]
QUICK = ("qwen2_vl", "idefics3")  # a family whose images have any size, and one with tiles
# its processor needs one more library, which writes numbers of frames as words
NEEDS_WORDS = pytest.param("smolvlm", marks=pytest.mark.skipif(find_spec("num2words") is None, reason="no num2words"))


def tiny(folder, prompt_options=None, **options):
    """A reranker with a tiny random checkpoint, which answers no question with confidence."""
    return VlmReranker(VlmOptions(str(folder), dtype="float32", min_option_mass=0.0, **options), prompt_options)


def noise(seed, size):
    """An image of random pixels, whose answer no resizing leaves alone."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def questions(mode="names"):
    """Requests with images of different sizes, different numbers of candidates, and with examples."""
    sizes, counts, rng = [(230, 170), (90, 300), (400, 140)], [2, 5, 3], random.Random(0)
    requests = []
    for seed, (size, count) in enumerate(zip(sizes, counts)):
        candidates = tuple(
            Candidate(name, 0.3, ()) for name in rng.sample(["dots", "cross", "checker", "ring", "bars"], count)
        )
        examples = tuple((noise(10 * seed + number, (60, 80)),) for number in range(count)) if mode != "names" else ()
        requests.append(RerankRequest(noise(seed, size), candidates, references=examples))
    return requests


def own_answer(reranker, request):
    """What the model itself says: the processor and the forward pass of transformers, one prompt at a time."""
    scorer = loaded(reranker)
    prompts = [reranker._budget.fit(prompt) for prompt in make_prompts(reranker.prompt_options, request)]
    logs = []
    for prompt in prompts:
        content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image"} for p in prompt.parts]
        images = [part for part in prompt.parts if not isinstance(part, str)]
        text = scorer.processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        own = {} if scorer.processor.tokenizer.bos_token is None else {"add_special_tokens": False}
        fixed = {"do_resize": False} if reranker._budget.whole else {}
        inputs = scorer.processor(text=[text], images=[images], return_tensors="pt", **own, **fixed)
        with torch.inference_mode():
            row = scorer._model(**inputs).logits[0, -1].log_softmax(-1)
        logs.append(np.array([float(row[scorer.answers.of(answer)].logsumexp(-1)) for answer in prompt.answers]))
    pairwise = reranker.prompt_options.mode == "pairwise"
    return aggregate(prompts, logs, len(request.candidates), 0.0, pairwise)


@pytest.mark.parametrize("mode", ["names", pytest.param("references", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "family",
    [*(name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in FAMILIES), NEEDS_WORDS],
)
def test_the_result_is_what_the_model_itself_says(tiny_vlm, family, mode):
    """A batch of requests of different lengths, image sizes and numbers of images gives each its own answer."""
    reranker = tiny(tiny_vlm(family), PromptOptions(mode))
    requests = questions(mode)
    answers = reranker.rerank(requests)
    for request, answer in zip(requests, answers):
        expected = own_answer(reranker, request)
        np.testing.assert_allclose(answer.scores, expected.scores, atol=2e-5)
        assert answer.option_mass == pytest.approx(expected.option_mass, rel=1e-3)
    blank = [replace(request, image=Image.new("RGB", request.image.size)) for request in requests]
    changes = [np.subtract(a.scores, b.scores) for a, b in zip(reranker.rerank(blank), answers)]
    assert max(np.abs(change).max() for change in changes) > 1e-3  # the pixels count


@pytest.mark.parametrize("family", ["qwen3_vl", "idefics3"])
def test_no_row_is_without_keys(tiny_vlm, family):
    """Each row of each forward pass sees at least itself, whatever it is padded with: NaN has no way in."""
    reranker = tiny(tiny_vlm(family))
    scorer = WholeForwardScorer(
        torch, loaded(reranker)._model, loaded(reranker).processor, resized=reranker._budget.whole
    )
    masks = []
    hook = scorer._model.register_forward_pre_hook(
        lambda _, args, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
    )
    scorer([[reranker._budget.fit(p) for p in make_prompts(reranker.prompt_options, q)] for q in questions()])
    hook.remove()
    assert any(0 in mask for mask in masks) or len(masks) > 1  # lengths differ
    assert all(bool((mask[:, 0] == 1).all()) for mask in masks)


@pytest.mark.long
def test_images_are_processed_in_parts(tiny_vlm, monkeypatch):
    """A question with many images never has all of them in memory; the answers stay the same."""
    reranker = tiny(tiny_vlm("gemma3"), PromptOptions("pairwise"))
    expected = reranker.rerank(questions("pairwise"))
    monkeypatch.setattr("lmm_classifier.rerank.whole_forward._MAX_PIXELS", 100_000)
    scorer, sizes = loaded(reranker), []
    processed = scorer._of_part
    scorer._of_part = lambda prompts: sizes.append(len(prompts)) or processed(prompts)
    for answer, wanted in zip(reranker.rerank(questions("pairwise")), expected, strict=True):
        np.testing.assert_allclose(answer.scores, wanted.scores, atol=2e-5)
    assert (max(sizes) <= 4, sum(sizes)) == (True, 10)


def test_the_model_side_of_a_family_whose_processor_needs_a_library(tiny_vlm):
    """SmolVLM, loaded from safetensors: a padded batch has the rows of the model's own forward pass."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny_vlm("smolvlm"), dtype=torch.float32).eval()
    processor = loaded(tiny(tiny_vlm("idefics3"))).processor  # only its chat template and its padding count here
    generator, parts = torch.Generator().manual_seed(0), []
    for length in (9, 14):
        tokens = torch.randint(1, 100, (1, length), generator=generator)
        tokens[0, 2:6] = model.config.image_token_id
        pixels = torch.randn(1, 1, 3, 56, 56, generator=generator)
        parts.append({"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "pixel_values": pixels})
    rows = WholeForwardScorer(torch, model, processor, resized=False)._log_probabilities(parts)
    for row, part in zip(rows, parts):
        with torch.inference_mode():
            expected = model(**part).logits[0, -1].log_softmax(-1)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_cuda_answers_as_the_cpu_does(tiny_vlm, family, dtype):
    """With images of different sizes in one batch, no answer is NaN and none differs by more than rounding."""
    options = VlmOptions(str(tiny_vlm(family)), device="cuda", dtype=dtype, min_option_mass=0.0)
    reranker = VlmReranker(options)
    for answer, expected in zip(reranker.rerank(questions()), tiny(tiny_vlm(family), device="cpu").rerank(questions())):
        assert answer.failure == ""
        np.testing.assert_allclose(answer.scores, expected.scores, atol=1e-3 if dtype == "float32" else 0.15)
