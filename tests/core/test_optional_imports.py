"""A missing library is an error that says what to type, and what it says exists."""

import re
import sys
import tomllib

import pytest

from lmm_classifier.core.errors import LmmClassifierError, MissingExtraError
from lmm_classifier.core.optional_imports import load, load_module
from tests.helpers.paths import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def test_a_missing_library_names_the_extra():
    """The message holds the exact command, and the error is an ImportError too."""
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'lmm-classifier[onnx]'")) as caught:
        load_module("no_such_library.part", "onnx")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, LmmClassifierError)
    assert "'no_such_library'" in str(caught.value)


def test_our_own_mistakes_are_seen():
    """A module of ours that is missing is not reported as a missing extra."""
    with pytest.raises(ModuleNotFoundError) as caught:
        load_module("lmm_classifier.no_such_room", "onnx")
    assert not isinstance(caught.value, MissingExtraError)


def test_load_returns_the_name():
    """An installed name is returned as it is."""
    assert load("json", "dumps", "onnx") is __import__("json").dumps


@pytest.mark.parametrize("library", ["torch", "transformers", "onnxruntime"])
def test_hint_when_a_real_library_is_absent(monkeypatch, library):
    """With the library hidden, opening what needs it says which extra to install."""
    from lmm_classifier.embeddings.config import EncoderConfig
    from lmm_classifier.embeddings.registry import open_encoder

    monkeypatch.setitem(sys.modules, library, None)
    backend = "onnx" if library == "onnxruntime" else "siglip"
    with pytest.raises(MissingExtraError, match=rf"lmm-classifier\[{backend}\]"):
        open_encoder(EncoderConfig(backend=backend, model="nowhere"))


def test_every_hinted_extra_exists():
    """Each extra that the source names is in the project's metadata."""
    hinted = set()
    for path in (ROOT / "lmm_classifier").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        hinted |= set(re.findall(r"load(?:_module)?\([^()]*?\"([a-z0-9-]+)\"\)", text))
        hinted |= set(re.findall(r"_EXTRA = \"([a-z0-9-]+)\"", text))
    assert hinted >= {"siglip", "onnx", "qwen2-vl"}
    assert hinted <= set(EXTRAS)
