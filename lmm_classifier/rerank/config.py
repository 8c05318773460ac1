"""The settings of reranking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from lmm_classifier.core.paths import model_in
from lmm_classifier.core.settings import MAX_CANDIDATES, PathField, Settings, UnitInterval
from lmm_classifier.rerank.prompt_template import (
    DEFAULT_PAIRWISE_TEMPLATE,
    DEFAULT_PROMPT_TEMPLATE,
    DEFAULT_REFERENCES_TEMPLATE,
    check_pairwise_template,
    check_references_template,
    check_template,
)


def _http_url(url: str) -> str:
    """Return `url` without a trailing slash; raises ValueError if it is not an HTTP URL or contains a secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected a URL such as http://127.0.0.1:8000/v1, got {url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a URL must not contain a password or a key: put it in the variable named by api_key_env")
    return url.rstrip("/")


class PromptConfig(Settings):
    """How the vision-language model is asked."""

    mode: Literal["names", "references", "pairwise"] = "names"
    """What is asked. `names`: which label name; `references`: which label, shown by example images too; `pairwise`:
    the same as this example or not, one request per example."""
    references: int = Field(default=1, ge=1, le=3)
    """Example images per candidate for `references` and `pairwise`: similar to the image and typical of the label."""
    orders: int = Field(default=2, ge=1, le=MAX_CANDIDATES)
    """Number of option permutations to average (position debiasing): 2 are opposite, more are cyclic."""
    none_option: bool = False
    """Also offer "none of these". Its probability takes weight from the answer; it is never a result of its own."""
    references_template: Annotated[str, AfterValidator(check_references_template)] = DEFAULT_REFERENCES_TEMPLATE
    """The prompt of `references`: `{options}` becomes names and images, `{image}` the image in question."""
    pairwise_template: Annotated[str, AfterValidator(check_pairwise_template)] = DEFAULT_PAIRWISE_TEMPLATE
    """The prompt of `pairwise`: `{image}` and `{reference}`; its answer must be yes or no."""
    min_visual_tokens: int = Field(default=64, ge=4, le=16384)
    """Smaller images are enlarged to this many visual tokens of 28x28 pixels."""
    max_visual_tokens: int = Field(default=1024, ge=4, le=16384)
    """Larger images are reduced to this many visual tokens; bounds time and memory."""
    max_request_tokens: int = Field(default=4096, ge=16, le=65536)
    """Visual tokens of all images of one request together; each image gets an equal part."""
    min_option_mass: UnitInterval = 0.5
    """Least probability (0 to 1) of all options together. Below it the model did not answer the question, so the call
    counts as failed."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_visual_tokens > self.max_visual_tokens:
            raise ValueError(
                f"min_visual_tokens ({self.min_visual_tokens}) must not exceed max_visual_tokens "
                f"({self.max_visual_tokens})"
            )
        return self


class ModelConfig(Settings):
    """How a vision-language model is loaded in this process (backend `qwen2_vl`)."""

    revision: str | None = None
    """Branch, tag or commit of a hub model; null means its default branch."""
    cache_dir: PathField | None = None
    """Where hub models are stored; null means the library's own cache."""
    allow_download: bool = True
    """Download a hub model that is not in the cache. The cache is always tried first."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 where the device computes in it, else float32."""
    batch_size: int = Field(default=4, ge=1)
    """Images in one forward pass."""


class ServerConfig(Settings):
    """How an OpenAI-compatible server is asked (backend `openai_api`)."""

    base_url: Annotated[str, AfterValidator(_http_url)] = "http://127.0.0.1:8000/v1"
    """URL of the server, up to and including `/v1`."""
    api_key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable with the server's key; without it no key is sent. Keys are never stored elsewhere."""
    deadline: float = Field(default=30.0, gt=0, le=3600)
    """Seconds for one image, including all its requests, waits and retries; then retrieval's answer is used."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests under way at a time."""
    retries: int = Field(default=2, ge=0, le=10)
    """Further attempts after a lost connection, 429, 502, 503 or 504. Each waits longer than the last, or as long as
    the server asks for."""
    circuit_breaker_failures: int = Field(default=5, ge=1)
    """Consecutive failures after which the server is not asked for a while."""
    circuit_breaker_seconds: float = Field(default=30.0, gt=0)
    """Seconds without a request after that; then one trial request is made."""


class GateConfig(Settings):
    """Which images the reranker is asked about (the deferral rule)."""

    mode: Literal["measured", "threshold"] = "measured"
    """`measured`: where `calibrate --rerank` found that it pays (until then as `threshold`); `threshold`: every image
    below `retrieval.confidence_threshold`."""
    target_gain: float = Field(default=0.95, gt=0, le=1)
    """`calibrate --rerank` plans as many calls as capture this fraction (0 to 1) of all possible corrections."""
    max_calls_per_1000: float | None = Field(default=None, gt=0, le=1000)
    """Most calls per 1000 images that `calibrate --rerank` plans; null means as many as pay."""
    candidate_recall: float = Field(default=0.98, gt=0, le=1)
    """`calibrate --rerank` offers as many labels as contain the true one this often (0 to 1) where retrieval is
    uncertain, at most `retrieval.candidates`."""


class RerankConfig(Settings):
    """Whether and how a reranker chooses among competing labels."""

    enabled: bool = True
    """Whether to ask. If false, the best of the competing labels is accepted with the reason `ambiguous`."""
    backend: Literal["qwen2_vl", "openai_api", "views"] = "qwen2_vl"
    """`qwen2_vl`: a vision-language model in this process; `openai_api`: one behind an OpenAI-compatible server (vLLM,
    SGLang, llama.cpp, Ollama); `views`: test-time augmentation, the same encoder on five views of the image."""
    model_name: str = "Qwen/Qwen2-VL-7B-Instruct"
    """Hub name or folder of a Qwen2-VL checkpoint, or the server's name of its model; not used by views."""
    prompt_template: Annotated[str, AfterValidator(check_template)] = DEFAULT_PROMPT_TEMPLATE
    """The prompt of mode `names`. `{options}` (required) becomes the lettered label names, `{image}` is where the image
    goes (without it the image comes first)."""
    cache: Literal["auto", "off"] = "auto"
    """`auto`: the answers of a model are stored in a file next to the index and reused."""
    cache_entries: int = Field(default=100_000, ge=1)
    """Most answers stored, about 300 bytes each; the least recently used are deleted first."""
    gate: GateConfig = GateConfig()  # copied for each instance
    prompt: PromptConfig = PromptConfig()  # copied for each instance
    model: ModelConfig = ModelConfig()  # copied for each instance
    server: ServerConfig = ServerConfig()  # copied for each instance

    def start_paths_at(self, folder: Path) -> None:
        """Do so with the checkpoint too, where it is a path or lies in `folder`; a server's model is no path."""
        super().start_paths_at(folder)
        if self.backend == "qwen2_vl" and "model_name" in self.model_fields_set:
            self.model_name = model_in(folder, self.model_name)
