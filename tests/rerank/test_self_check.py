"""A loaded model is checked on drawn questions before it is asked about images."""

import json
import logging
import shutil

import pytest

from lmm_classifier.core.errors import RerankerError
from lmm_classifier.rerank.self_check import checked_scorer
from lmm_classifier.rerank.vlm import VlmOptions, VlmReranker
from tests.helpers.tiny_qwen2_vl import BUDGET, NAMES, OPTIONS, loaded, needs_torch

needs_torch()
import torch  # noqa: E402

from lmm_classifier.rerank.shared_prefix import SharedPrefixScorer  # noqa: E402
from lmm_classifier.rerank.whole_forward import WholeForwardScorer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers")


def both_ways(folder, dtype="float32"):
    """The reranker of a checkpoint, and its two scorers over one model."""
    reranker = VlmReranker(VlmOptions(str(folder), dtype=dtype, min_option_mass=0.0))
    scorer = loaded(reranker)
    whole = WholeForwardScorer(torch, scorer._model, scorer.processor, resized=True)
    return reranker, whole, SharedPrefixScorer(torch, scorer._model, scorer.processor)


def chosen(reranker, whole, shared):
    return checked_scorer(whole, shared, reranker.prompt_options, reranker._budget, 0.0)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("qwen2_vl", "float32"),
        ("qwen2_5_vl", "bfloat16"),
        pytest.param("qwen2_vl", "bfloat16", marks=pytest.mark.long),
        pytest.param("qwen2_5_vl", "float32", marks=pytest.mark.long),
    ],
)
def test_a_proven_family_shares_its_prefix(tiny_vlm, family, dtype, caplog):
    """Both ways agree up to rounding, so the faster one is taken, without a warning."""
    folder = tiny_vlm(family)
    caplog.clear()  # the library warns while it writes a checkpoint with so few words
    reranker = VlmReranker(VlmOptions(str(folder), dtype=dtype, min_option_mass=0.0))
    assert isinstance(loaded(reranker), SharedPrefixScorer)
    assert caplog.records == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_family_that_cannot_share_is_noticed(tiny_vlm, dtype, caplog):
    """Qwen3-VL adds features of the image in later layers, which a prefix of embeddings alone loses."""
    reranker, whole, shared = both_ways(tiny_vlm("qwen3_vl"), dtype)
    with caplog.at_level(logging.WARNING):
        assert chosen(reranker, whole, shared) is whole
    assert "each prompt is computed as a whole" in caplog.text


@pytest.mark.parametrize("fault", ["a row of keys", "nan"])
def test_a_fault_of_the_shared_prefix_is_noticed(tiny_vlm, fault, caplog):
    """Numbers that differ, or are none, lead to the whole forward pass."""
    reranker, whole, shared = both_ways(tiny_vlm("qwen2_5_vl"))
    run = shared._run

    def faulty(values, positions, mask, past):
        if past is not None and fault == "nan":
            values = values * float("nan")
        elif past is not None:
            mask = mask.clone()
            mask[:, 0] = 0
        return run(values, positions, mask, past)

    shared._run = faulty
    with caplog.at_level(logging.WARNING):
        assert chosen(reranker, whole, shared) is whole
    assert "differently" in caplog.text


def test_a_shared_prefix_that_fails_is_noticed(tiny_vlm, tmp_path, caplog):
    """A checkpoint with a name of its own for the image token can be asked, though not with a shared prefix."""
    folder = shutil.copytree(tiny_vlm("qwen2_vl"), tmp_path / "model")
    for file in (*folder.glob("*.json"), *folder.glob("*.jinja")):
        file.write_text(file.read_text().replace("<|image_pad|>", "<|visual|>"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    named = settings | {"extra_special_tokens": {"image_token": "<|visual|>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    with caplog.at_level(logging.WARNING):
        assert isinstance(loaded(VlmReranker(VlmOptions(str(folder), min_option_mass=0.0))), WholeForwardScorer)
    assert "each prompt is computed as a whole" in caplog.text


def test_layers_that_forget_a_long_prefix_do_not_share_it(tiny_vlm, tmp_path):
    """The drawn questions are shorter than the window, so that both ways answer them alike."""
    folder = shutil.copytree(tiny_vlm("qwen2_vl"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"use_sliding_window": True, "sliding_window": 200, "max_window_layers": 0}
    config["text_config"].pop("layer_types")
    (folder / "config.json").write_text(json.dumps(config))
    reranker = VlmReranker(VlmOptions(str(folder), dtype="float32", min_option_mass=0.0))
    assert isinstance(loaded(reranker), WholeForwardScorer)


def test_a_model_that_does_not_answer_is_reported(tiny_vlm, caplog):
    """A random model gives the options next to no probability; a trained one is above the minimum."""
    with caplog.at_level(logging.WARNING):
        loaded(VlmReranker(VlmOptions(str(tiny_vlm("idefics3")), dtype="float32")))
        assert "probability of only" in caplog.text
        caplog.clear()
        loaded(VlmReranker(OPTIONS, NAMES, BUDGET))
        assert caplog.records == []


def test_a_model_without_usable_numbers_is_an_error(tiny_vlm):
    """A model whose weights overflow cannot be asked; the error says what to do."""
    reranker, whole, shared = both_ways(tiny_vlm("qwen2_vl"))
    with torch.no_grad():
        whole._model.lm_head.weight.fill_(float("inf"))
    with pytest.raises(RerankerError, match="rerank.model.dtype: float32"):
        chosen(reranker, whole, shared)


def test_a_tokenizer_without_letters_is_an_error(tiny_vlm):
    """If an option could not be answered by one token, that is said at the start."""
    reranker, whole, shared = both_ways(tiny_vlm("qwen2_vl"))
    whole.answers._tokens["Q"] = []
    with pytest.raises(RerankerError, match="no single token for the answer 'Q'"):
        chosen(reranker, whole, shared)
