"""Vision-language checkpoints: the layout of the hub, sizes, devices and quantized weights."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.core.checkpoints import quantization
from lmm_classifier.core.errors import MissingExtraError, RerankerError
from lmm_classifier.rerank import vlm, vlm_checkpoint
from lmm_classifier.rerank.vlm import VlmOptions, VlmReranker
from lmm_classifier.rerank.vlm_checkpoint import require_quantization, token_side
from tests.helpers.tiny_qwen2_vl import loaded, needs_torch

needs_torch()
import torch  # noqa: E402

from tests.fixtures.make_tiny_vlms import hub_qwen2_vl  # noqa: E402
from tests.rerank.test_whole_forward import questions  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers")


def options(folder):
    return VlmOptions(str(folder), dtype="float32", device="cpu", min_option_mass=0.0)


@pytest.fixture(scope="module")
def hub(tiny_vlm, tmp_path_factory):
    """A tiny checkpoint as Qwen/Qwen2-VL-7B-Instruct lies on the hub."""
    return hub_qwen2_vl(tiny_vlm("qwen2_vl"), tmp_path_factory.mktemp("hub") / "model")


@pytest.mark.long
def test_the_layout_of_the_hub(hub, tiny_vlm):
    """No weight is missing or left over, and the answers are those of the layout that is written today."""
    from transformers import AutoModelForImageTextToText

    assert len(list(hub.glob("model-0000?-of-00005.safetensors"))) == 5
    keys = json.loads((hub / "model.safetensors.index.json").read_text())["weight_map"]
    assert {"visual.patch_embed.proj.weight", "model.embed_tokens.weight", "lm_head.weight"} < keys.keys()
    model, report = AutoModelForImageTextToText.from_pretrained(hub, dtype=torch.float32, output_loading_info=True)
    assert {name: list(found) for name, found in report.items() if found} == {}
    assert len(list(model.state_dict())) == len(keys)
    old, new = VlmReranker(options(hub)), VlmReranker(options(tiny_vlm("qwen2_vl")))
    for answer, expected in zip(old.rerank(questions()), new.rerank(questions()), strict=True):
        assert answer.scores == expected.scores
        assert answer.option_mass == expected.option_mass


@pytest.mark.parametrize("change", ["missing", "renamed"])
def test_weights_that_do_not_belong_to_the_model_are_an_error(hub, tmp_path, change):
    """A tensor that is gone, or has another name, is never replaced by random numbers."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(hub, tmp_path / "model")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    name = "model.layers.1.mlp.up_proj.weight"
    shard = folder / index["weight_map"].pop(name)
    weights = load_file(shard)
    tensor = weights.pop(name)
    if change == "renamed":
        weights["model.layers.1.mlp.other.weight"] = tensor
        index["weight_map"]["model.layers.1.mlp.other.weight"] = shard.name
    save_file(weights, shard, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(RerankerError, match=r"lack 1 tensors of the model, such as .*layers.1.mlp.up_proj.weight"):
        VlmReranker(options(folder)).rerank(questions())


@pytest.mark.parametrize(
    ("family", "side"), [("qwen2_vl", 28), ("qwen2_5_vl", 28), ("qwen3_vl", 32), ("idefics3", None), ("gemma3", None)]
)
def test_the_side_of_a_visual_token(tiny_vlm, family, side):
    """Patch times merge by the configuration; none where images become tiles of a fixed size."""
    config = json.loads((tiny_vlm(family) / "config.json").read_text())
    assert token_side(config) == side
    budget = VlmReranker(options(tiny_vlm(family)))._budget
    assert (budget.side, budget.whole) == (side or 28, side is not None)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", "xpu", "nonsense"])
def test_a_device_that_torch_lacks(tiny_vlm, device, monkeypatch):
    """The error names the setting, and nothing is loaded, now or at the next batch."""
    if device != "nonsense" and getattr(torch, device.split(":")[0]).is_available():
        pytest.skip("this device is there")
    loads = []
    monkeypatch.setattr(vlm, "load_model", lambda *arguments: loads.append(arguments))
    reranker = VlmReranker(replace(options(tiny_vlm("qwen2_vl")), device=device))
    for _ in range(3):
        with pytest.raises(RerankerError, match=rf"rerank.model.device is '{device}'") as caught:
            reranker.rerank(questions())
        assert "Download" not in str(caught.value)
    assert loads == []


@pytest.mark.parametrize("fault", [RuntimeError("CUDA error: out of memory"), OSError("disk"), KeyError("x")])
def test_weights_are_not_loaded_again_after_a_failure(tiny_vlm, fault, monkeypatch):
    """Each further batch fails at once with the same reason."""
    loads = []

    def failing(*arguments):
        loads.append(arguments)
        raise fault

    monkeypatch.setattr(vlm, "load_model", failing)
    reranker = VlmReranker(options(tiny_vlm("qwen2_vl")))
    messages = set()
    for _ in range(3):
        with pytest.raises(RerankerError) as caught:
            reranker.rerank(questions())
        messages.add(str(caught.value))
    assert len(loads) == len(messages) == 1
    assert ("smaller" in messages.pop()) == ("out of memory" in str(fault))


def test_a_model_that_fails_when_it_is_asked(tiny_vlm, monkeypatch):
    """It was loaded, so the error does not advise to download it."""

    def failing(*_):
        raise RuntimeError("N must be divisible by block_n.")

    monkeypatch.setattr(vlm.WholeForwardScorer, "_log_probabilities", failing)
    with pytest.raises(RerankerError, match="fails on a drawn question: N must be divisible by block_n. Set") as caught:
        VlmReranker(options(tiny_vlm("qwen2_vl"))).rerank(questions())
    assert "Download" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "method", "library"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq", "gptqmodel"),
        ({"quant_method": "gptq", "bits": 4}, "gptq", "optimum and gptqmodel"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", "bitsandbytes"),
        ({"load_in_8bit": True}, "bitsandbytes", "bitsandbytes"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors", "compressed-tensors"),
    ],
)
def test_quantized_weights_name_the_library_that_they_need(tiny_vlm, tmp_path, monkeypatch, settings, method, library):
    """It is told before any work is done, with the command that installs it; with it, nothing stands in the way."""
    folder = shutil.copytree(tiny_vlm("qwen2_vl"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(config))
    assert quantization(config) == method
    missing = set(vlm_checkpoint._QUANTIZED[method].values())
    monkeypatch.setattr(vlm_checkpoint, "is_installed", lambda name: name not in missing)
    with pytest.raises(MissingExtraError, match=rf"quantized \({method}\), and {library} to load") as caught:
        VlmReranker(options(folder))
    assert "pip install " + library.replace(" and ", " ") in str(caught.value)
    monkeypatch.setattr(vlm_checkpoint, "is_installed", lambda _: True)
    require_quantization(config)
    VlmReranker(options(folder))


def test_a_weight_of_another_shape_is_named(tiny_vlm, tmp_path):
    """The error says which, what it has and what the configuration says, and that the files do not fit."""
    folder = shutil.copytree(tiny_vlm("qwen2_vl"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["patch_size"] = 7
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        RerankerError, match=r"patch_embed.proj.weight has the shape .*config.json says.*again"
    ) as caught:
        VlmReranker(options(folder)).rerank(questions())
    assert "network" not in str(caught.value)


def test_plain_weights_need_no_library(tiny_vlm):
    config = json.loads((tiny_vlm("qwen2_vl") / "config.json").read_text())
    assert quantization(config) is None
    assert quantization(config | {"quantization_config": {"quant_method": "of tomorrow"}}) == "of tomorrow"
    require_quantization(config | {"quantization_config": {"quant_method": "of tomorrow"}})


def test_the_identity_is_that_of_the_weights(hub, tiny_vlm):
    """A folder and its copy are the same model; another layout of it is another file, and so another model."""
    copy = VlmReranker(options(tiny_vlm("qwen2_vl")))
    assert copy.identity == VlmReranker(options(tiny_vlm("qwen2_vl"))).identity
    assert copy.identity.startswith("vlm:")
    assert copy.identity != VlmReranker(options(hub)).identity
    assert np.isfinite(loaded(copy)._model.lm_head.weight.sum().item())
