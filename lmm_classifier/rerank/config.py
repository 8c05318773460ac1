"""The settings of reranking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from lmm_classifier.core.paths import model_in
from lmm_classifier.core.redaction import redact
from lmm_classifier.core.settings import MAX_CANDIDATES, PathField, Settings, UnitInterval
from lmm_classifier.rerank.prompt_template import (
    DEFAULT_PAIRWISE_TEMPLATE,
    DEFAULT_PROMPT_TEMPLATE,
    DEFAULT_REFERENCES_TEMPLATE,
    check_pairwise_template,
    check_references_template,
    check_template,
)

_HEADER = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
_OWN_HEADERS = {"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection"}
_OWN_FIELDS = {"model", "messages", "stream", "n", "logprobs", "top_logprobs", "logprob_token_ids"}
_OWN_FIELDS |= {"structured_outputs", "response_format"}


def _http_url(url: str) -> str:
    """Return `url` without a trailing slash; raises ValueError if it is not an HTTP URL or contains a secret."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ValueError(f"expected a URL such as http://127.0.0.1:8000/v1, got {redact(url)!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a URL must not contain a password or a key: put it in the variable named by api_key_env")
    return url.rstrip("/")


def _http_urls(urls: str | list[str]) -> str | list[str]:
    if isinstance(urls, str):
        return _http_url(urls)
    if not urls:
        raise ValueError("must name at least one URL")
    return [_http_url(url) for url in urls]


def _proxy(proxy: str) -> str:
    return proxy if proxy in {"auto", "off"} else _http_url(proxy)


def _extra_fields(fields: dict[str, Any]) -> dict[str, Any]:
    if own := sorted(_OWN_FIELDS & fields.keys()):
        raise ValueError(f"must not contain {', '.join(own)}, which the program sets")
    try:
        json.dumps(fields, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"must be what JSON can hold: {error}") from None
    return fields


def _extra_header(name: str) -> str:
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"must not contain {name}, which the program sets")
    return name


def _header_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or len(text) > 8000:
        raise ValueError("a value must be printable ASCII on one line")
    return value


_HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]


def _backend(name: str) -> str:
    return "vlm" if name == "qwen2_vl" else name


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
    """Smaller images are enlarged to this many visual tokens (28x28 pixels each for Qwen2-VL). Models that cut images
    into tiles of a fixed size take small images as they are."""
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
    """How a vision-language model is loaded in this process (backend `vlm`)."""

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

    base_url: Annotated[str | list[str], AfterValidator(_http_urls)] = "http://127.0.0.1:8000/v1"
    """URL of the server, up to and including `/v1`, or a list of URLs that serve the same model. The one with the least
    to do is asked; if it fails, the next one."""
    api_key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable with the server's key; without it no key is sent. Keys are never stored elsewhere."""
    extra_headers: dict[Annotated[str, Field(pattern=_HEADER), AfterValidator(_extra_header)], _HeaderValue] = Field(
        default_factory=dict
    )
    """More headers of each request. `${NAME}` in a value becomes that environment variable. Values are never shown."""
    extra_body: Annotated[dict[str, Any], AfterValidator(_extra_fields)] = Field(default_factory=dict)
    """More fields of each chat completion, such as `{seed: 1}`. `null` removes a field that the program would send."""
    thinking: Literal["auto", "on", "off"] = "auto"
    """Whether the model may think before it answers. `auto`: no, if the server can switch it off; `off`: always ask the
    server to switch it off; `on`: leave it alone."""
    token_budget: int = Field(default=2048, ge=16, le=131_072)
    """Most tokens of one reply of a model that thinks before it answers; other models need a few."""
    proxy: Annotated[str, AfterValidator(_proxy)] = "auto"
    """`auto`: the proxy that the environment names (`HTTPS_PROXY`), but none for servers on this machine or in its
    network; `off`: none; or the URL of a proxy for all servers."""
    deadline: float = Field(default=30.0, gt=0, le=3600)
    """Seconds for one image, including all its requests, waits and retries; then retrieval's answer is used."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests under way at a time, for each URL. A server that answers 429 or 503 is asked more slowly."""
    retries: int = Field(default=2, ge=0, le=10)
    """Further attempts after a lost connection, 502 or 504. Each waits longer than the last. Requests that a server
    postpones (429, 503) are sent again until the deadline, when it asks for them."""
    circuit_breaker_failures: int = Field(default=5, ge=1)
    """Consecutive failures after which a server is not asked for a while."""
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
    backend: Annotated[Literal["vlm", "qwen2_vl", "openai_api", "views"], AfterValidator(_backend)] = "vlm"
    """`vlm`: a vision-language model in this process (`qwen2_vl` is another name for it); `openai_api`: one behind an
    OpenAI-compatible server (vLLM, SGLang, llama.cpp, Ollama); `views`: test-time augmentation, the same encoder on
    five views of the image."""
    model_name: str = "Qwen/Qwen2-VL-7B-Instruct"
    """Hub name or folder of a vision-language checkpoint, or the server's name of its model; not used by views."""
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
        if self.backend == "vlm" and "model_name" in self.model_fields_set:
            self.model_name = model_in(folder, self.model_name)
