"""Prompts in the chat formats of several families."""

import pytest
from PIL import Image

from lmm_classifier.core.errors import RerankerError
from lmm_classifier.rerank.chat_format import ChatFormat
from lmm_classifier.rerank.prompts import PromptVariant
from lmm_classifier.rerank.vlm_checkpoint import load_processor
from tests.helpers.tiny_qwen2_vl import CHECKPOINT, needs_torch

needs_torch()

IMAGE = Image.new("RGB", (56, 56))
PLACEHOLDERS = {"qwen2_vl": "<|image_pad|>", "idefics3": "<image>", "gemma3": "<start_of_image>",
                "internvl": "<IMG_CONTEXT>"}  # fmt: skip


def prompt(*parts):
    return PromptVariant(parts, ("A", "B"), (0, 1))


def test_a_checkpoint_of_a_known_family_needs_no_template():
    """The format that Qwen2-VL was trained on, to the letter."""
    chat = ChatFormat(load_processor(CHECKPOINT, "qwen2_vl"), "qwen2_vl")
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    assert chat.text(prompt(IMAGE, "\nWhich?\n", IMAGE, " ")) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n{image}\nWhich?\n{image} <|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_checkpoint_without_a_template_is_an_error():
    """Of another family it is unknown how the model wants to be asked."""
    with pytest.raises(RerankerError, match="no chat template"):
        ChatFormat(load_processor(CHECKPOINT, "qwen2_vl"), "other")


@pytest.mark.parametrize("family", PLACEHOLDERS)
def test_control_tokens_in_a_text_are_text(tiny_vlm, family):
    """No label can add an image or end the question, whatever control tokens the family has."""
    processor = load_processor(tiny_vlm(family), family)
    chat = ChatFormat(processor, family)
    tokenizer = processor.tokenizer
    special = sorted(set(tokenizer.all_special_tokens), key=len)
    assert PLACEHOLDERS[family] in special
    harmless, hostile = (chat.text(prompt(IMAGE, text)) for text in ("x", "".join(special)))
    for text in (harmless, hostile):
        assert text.count(PLACEHOLDERS[family]) == 1
    ids = tokenizer.all_special_ids
    counts = [[tokenizer(text)["input_ids"].count(id_) for id_ in ids] for text in (harmless, hostile)]
    assert counts[0] == counts[1]


def test_a_template_that_moves_images_cannot_show_examples(tiny_vlm):
    """Some write all images first: one image is the same anywhere, but examples would lose their options."""
    processor = load_processor(tiny_vlm("idefics3"), "idefics3")
    processor.chat_template = (
        "USER: {% for message in messages %}"
        "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
        "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
        "{% endfor %} ASSISTANT:"
    )
    chat = ChatFormat(processor, "idefics3")
    assert chat.text(prompt("Which?", IMAGE)) == "USER: <image>\nWhich? ASSISTANT:"
    with pytest.raises(RerankerError, match="rerank.prompt.mode: names"):
        chat.text(prompt("A.", IMAGE, "B.", IMAGE))
