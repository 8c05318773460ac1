"""Qwen2-VL of real shapes with random weights: one forward pass, generate and parse, and the gain of shared prefixes.

`python -m benchmarks.reranking TOKENIZER --real-size` runs it. It needs 5 GB of memory, and reports the better of two
runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.reranking_tasks import LabeledImage, draw_images, make_requests
from benchmarks.rows import Better, Row, where
from lmm_classifier.core.datatypes import RerankRequest
from lmm_classifier.data.synthetic.shapes import SHAPES
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions, make_prompts
from lmm_classifier.rerank.responses import read_text_choice
from lmm_classifier.rerank.shared_prefix import SharedPrefixScorer
from lmm_classifier.rerank.vlm_checkpoint import without_video

COMMAND = "python -m benchmarks.reranking TOKENIZER --real-size"
BUDGET = VisualTokenBudget(256, 256, 4096)

# hidden size, size of the MLP, layers, heads, heads of keys and values, tied embeddings (arXiv 2409.12191)
TWO_B = (1536, 8960, 28, 12, 2, True)
SEVEN_B = (3584, 18944, 28, 28, 4, False)


def random_model(
    tokenizer: Path, shape: tuple[int, int, int, int, int, bool] = TWO_B, device: str = "cpu"
) -> tuple[Any, Any]:
    """Return a Qwen2-VL of a real shape with random weights, drawn on the device, and its processor."""
    from transformers import (
        Qwen2Tokenizer,
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
        Qwen2VLProcessor,
    )

    hidden, mlp, layers, heads, key_heads, tied = shape
    text = {
        "vocab_size": 151936 if tied else 152064, "hidden_size": hidden, "intermediate_size": mlp,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": key_heads,
        "tie_word_embeddings": tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }  # fmt: skip
    vision = {"depth": 32, "embed_dim": 1280, "hidden_size": hidden, "num_heads": 16, "mlp_ratio": 4}
    config: Any = Qwen2VLConfig(text_config=text, vision_config=vision, image_token_id=151655, tie_word_embeddings=tied)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = Qwen2VLForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    # A folder with the vocabulary alone lacks the control tokens. They are the next numbers, in this order.
    control = "im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end vision_start " \
        "vision_end vision_pad image_pad video_pad"  # fmt: skip
    text_tokenizer = Qwen2Tokenizer.from_pretrained(
        tokenizer, additional_special_tokens=[f"<|{token}|>" for token in control.split()]
    )
    if text_tokenizer.convert_tokens_to_ids("<|image_pad|>") != config.image_token_id:
        raise ValueError(f"{tokenizer} is not Qwen2-VL's tokenizer.")
    return model, without_video(Qwen2VLProcessor)(Qwen2VLImageProcessorPil(), text_tokenizer)


def large_images() -> list[LabeledImage]:
    """Return one image per class, of 256 visual tokens."""
    return [(label, image.resize((448, 448))) for label, image in draw_images(SHAPES, 1, 5)]


def generate_and_parse(
    scorer: SharedPrefixScorer, budget: VisualTokenBudget, options: PromptOptions, request: RerankRequest, tokens: int
) -> Any:
    """Answer as published rerankers do: one order, one image, free text of `tokens` tokens, then a parser."""
    (prompt,) = make_prompts(replace(options, orders=1), request)
    prompt = budget.fit(prompt)
    text, images = scorer._chat.text(prompt), [part for part in prompt.parts if not isinstance(part, str)]
    inputs = scorer.processor(text=[text], images=[images], do_resize=False, return_tensors="pt")
    inputs = inputs.to(scorer._model.device)
    output = scorer._model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
    written = output[0, inputs["input_ids"].shape[1] :]
    return read_text_choice(scorer.processor.tokenizer.decode(written), prompt.answers, ())


def real_size_rows(tokenizer: Path) -> list[Row]:
    """Measure the shapes of Qwen2-VL-2B."""
    shared = SharedPrefixScorer(torch, *random_model(tokenizer))
    separate = SharedPrefixScorer(torch, shared._model, shared.processor, share=False)
    by_name = make_requests(large_images(), 5, references=False)[:1]
    two_orders, one_order = _prompts(by_name), _prompts(by_name, orders=1)
    _seconds(shared, one_order)  # the first run includes warming up
    shared_time, separate_time = _seconds(shared, two_orders), _seconds(separate, two_orders)
    single_time = _seconds(separate, one_order)
    started = time.perf_counter()
    generate_and_parse(shared, BUDGET, PromptOptions(), by_name[0], 16)
    generating_time = time.perf_counter() - started
    generating = "two orders in one forward pass, speed relative to generate and parse of one order"
    prefix = "two orders, speed of a shared prefix relative to separate prompts"
    note = "16 generated tokens; CPU, where reading the image is most of the work"
    return [
        _row(generating, generating_time / shared_time, note),
        _row(prefix, separate_time / shared_time),
        _row("time of two orders relative to one", shared_time / single_time, better="lower"),
        *_reference_rows(shared, separate),
    ]


def _reference_rows(shared: SharedPrefixScorer, separate: SharedPrefixScorer) -> list[Row]:
    """Measure pairs and prompts with example images."""
    with_references = make_requests(large_images(), 5, references=True)[:1]
    pairs, by_reference = (_prompts(with_references, mode=mode) for mode in ("pairwise", "references"))
    gain = _seconds(separate, pairs) / _seconds(shared, pairs)
    new_time = _seconds(shared, by_reference)
    started = time.perf_counter()
    shared(by_reference)  # the features of its images are cached now
    cached_time = time.perf_counter() - started
    cached = "references, speed with cached image features relative to new images"
    return [
        _row("pairs, speed of a shared prefix relative to separate prompts", gain, "1 reference each"),
        _row(cached, new_time / cached_time),
    ]


def _row(name: str, value: float, note: str = "", better: Better = "higher") -> Row:
    against = "Qwen2-VL-2B's shapes, random weights, bfloat16, 256 visual tokens per image, 5 options"
    against = f"{against}; {note}" if note else against
    place = where("torch", "transformers")
    return Row(f"real size: {name}", round(value, 2), "x", None, better, against, place, COMMAND)


def _prompts(requests: Sequence[RerankRequest], **options: Any) -> list[Any]:
    return [[BUDGET.fit(prompt) for prompt in make_prompts(PromptOptions(**options), request)] for request in requests]


def _seconds(scorer: SharedPrefixScorer, prompts: list[Any]) -> float:
    """Return the shorter time of two runs without cached images."""
    times = []
    for _ in range(2):
        scorer._features.clear()
        started = time.perf_counter()
        scorer(prompts)
        times.append(time.perf_counter() - started)
    print(" ".join(f"{seconds:.1f} s" for seconds in times), flush=True)
    return min(times)
