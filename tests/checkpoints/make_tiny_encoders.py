"""Tiny checkpoints of the real encoder architectures, with random weights; made when the tests run."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

WORDS = ("a", "photo", "of", "the", "red", "blue", "cloth", "tartan", "gingham", "polka", "dots", "stripes")
_ENDS = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 0}
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


def make(kind: str, folder: Path, seed: int = 0) -> Path:
    """Save a checkpoint of `kind` (siglip, siglip2, clip) into `folder`."""
    torch.manual_seed(seed)
    model, processor, end = {"siglip": _siglip, "siglip2": _siglip2, "clip": _clip}[kind]()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    tokenizer(end).save_pretrained(folder)
    return folder


def tokenizer(end: str) -> PreTrainedTokenizerFast:
    """A real fast tokenizer with a vocabulary of whole words, which ends each text as its family does."""
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", "</s>", *WORDS])}
    built = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    built.normalizer = normalizers.Lowercase()
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    built.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, vocabulary[end])])
    return PreTrainedTokenizerFast(
        tokenizer_object=built, pad_token="<pad>", unk_token="<unk>", eos_token=end, model_max_length=64
    )


def _text(length: int) -> dict[str, object]:
    return {**SMALL, "vocab_size": 32, "max_position_embeddings": length, **_ENDS}


def _siglip() -> tuple[SiglipModel, SiglipImageProcessorPil, str]:
    vision = {**SMALL, "image_size": 56, "patch_size": 14}
    config = SiglipConfig(text_config={**_text(64), "projection_size": 64}, vision_config=vision)
    return SiglipModel(config), SiglipImageProcessorPil(size={"height": 56, "width": 56}), "</s>"


def _siglip2() -> tuple[Siglip2Model, Siglip2ImageProcessorPil, str]:
    vision = {**SMALL, "patch_size": 14, "num_patches": 16}
    config = Siglip2Config(text_config={**_text(64), "projection_size": 64}, vision_config=vision)
    return Siglip2Model(config), Siglip2ImageProcessorPil(patch_size=14, max_num_patches=16), "</s>"


def _clip() -> tuple[CLIPModel, CLIPImageProcessorPil, str]:
    vision = {**SMALL, "image_size": 56, "patch_size": 14}
    config = CLIPConfig(text_config=_text(77), vision_config=vision, projection_dim=48)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    return CLIPModel(config), processor, "</s>"
