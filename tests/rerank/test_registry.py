"""A reranker that cannot be opened says that it is the reranker, and what works without it."""

import pytest

from lmm_classifier.core.errors import MissingExtraError
from lmm_classifier.rerank import registry
from lmm_classifier.rerank.config import RerankConfig
from lmm_classifier.rerank.registry import open_reranker


@pytest.mark.parametrize(("backend", "library"), [("vlm", "accelerate"), ("openai_api", "httpx2")])
def test_a_reranker_without_its_library_names_those_that_need_none(backend, library, monkeypatch):
    """The user of an encoder without torch has asked for no language model."""

    def missing(*_):
        raise MissingExtraError(f"{library!r} is not installed: pip install 'lmm-classifier[{backend}]'")

    monkeypatch.setattr(registry, "_open_model", missing)
    with pytest.raises(MissingExtraError) as caught:
        open_reranker(RerankConfig(backend=backend), lambda images: [])
    message = str(caught.value)
    assert message.startswith(f"The reranker {backend} cannot be opened: {library!r} is not installed: pip install")
    assert "rerank.backend: views" in message
    assert "rerank.enabled: false" in message
