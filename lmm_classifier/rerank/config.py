"""The settings of the second look."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from lmm_classifier.core.settings import MAX_CANDIDATES, PathField, Section, Share
from lmm_classifier.rerank.prompt_template import (
    DEFAULT_PAIRWISE_TEMPLATE,
    DEFAULT_PROMPT_TEMPLATE,
    DEFAULT_REFERENCES_TEMPLATE,
    check_pairwise_template,
    check_references_template,
    check_template,
)


def _http_url(url: str) -> str:
    """Return `url` without a slash at its end, if a server can be asked there and nothing secret stands in it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected a URL such as http://127.0.0.1:8000/v1, got {url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a URL must not hold a password or a key: put it in the variable named by api_key_env")
    return url.rstrip("/")


class RerankConfig(Section):
    """The second look at pictures whose labels compete."""

    enabled: bool = True
    """Ask at all. When off, a competing vote is accepted as a best guess, and the result says so."""
    backend: Literal["qwen2_vl", "openai_api", "views"] = "qwen2_vl"
    """`qwen2_vl`: a vision-language model in this process; `openai_api`: one behind an OpenAI-compatible server (vLLM,
    SGLang, llama.cpp, Ollama); `views`: the same encoder on five views of the picture."""
    gate: Literal["measured", "threshold"] = "measured"
    """Whom to ask about. `measured`: where `calibrate --rerank` found that it pays (until then as `threshold`);
    `threshold`: every picture under `retrieval.confidence_threshold`."""
    gain_share: float = Field(default=0.95, gt=0, le=1)
    """`calibrate --rerank` asks about as many pictures as it takes for this share, 0..1, of all that can be gained."""
    max_calls_per_1000: float | None = Field(default=None, gt=0, le=1000)
    """Most pictures of 1000 that `calibrate --rerank` lets be asked about; null: as many as pay."""
    candidate_recall: float = Field(default=0.98, gt=0, le=1)
    """`calibrate --rerank` offers as many labels as hold the true one this often where there is doubt, at most
    `retrieval.candidates`."""
    mode: Literal["names", "references", "pairwise"] = "names"
    """What is asked. `names`: which label name; `references`: which label, shown by example pictures too; `pairwise`:
    the same as this example or not, one request per example."""
    references: int = Field(default=1, ge=1, le=3)
    """Example pictures per candidate for `references` and `pairwise`: near to the picture and typical of the label."""
    orders: int = Field(default=2, ge=1, le=MAX_CANDIDATES)
    """Orders in which the options are listed and whose answers are averaged: 2 are opposite, more are cyclic."""
    none_option: bool = False
    """Also offer "none of these": its share takes weight from the answer, and is never a verdict."""
    prompt_template: Annotated[str, AfterValidator(check_template)] = DEFAULT_PROMPT_TEMPLATE
    """The question by names. `{options}` (required) becomes the lettered label names, `{image}` is where the picture
    goes (without it the picture comes first)."""
    references_template: Annotated[str, AfterValidator(check_references_template)] = DEFAULT_REFERENCES_TEMPLATE
    """The question by references: `{options}` becomes names and pictures, `{image}` the picture in question."""
    pairwise_template: Annotated[str, AfterValidator(check_pairwise_template)] = DEFAULT_PAIRWISE_TEMPLATE
    """The question by pairs: `{image}` and `{reference}`; to be answered by yes or no."""
    min_visual_tokens: int = Field(default=64, ge=4, le=16384)
    """Smaller pictures are enlarged to this many visual tokens of 28x28 pixels."""
    max_visual_tokens: int = Field(default=1024, ge=4, le=16384)
    """Larger pictures are reduced to this many visual tokens; bounds time and memory."""
    max_request_tokens: int = Field(default=4096, ge=16, le=65536)
    """Visual tokens of all pictures of one request together; each gets an equal part."""
    min_label_mass: Share = 0.5
    """Least probability on the options together; below it the model was not answering, which counts as failed."""
    cache: Literal["auto", "off"] = "auto"
    """`auto`: answers of a model are kept in a file beside the index and not asked for again."""
    cache_entries: int = Field(default=100_000, ge=1)
    """Answers kept, about 300 bytes each; the ones not used for longest go first."""
    batch_size: int = Field(default=4, ge=1)
    """Pictures asked about in one forward pass."""
    model_name: str = "Qwen/Qwen2-VL-7B-Instruct"
    """Hub name or folder of a Qwen2-VL checkpoint, or the server's name of its model; not used by views."""
    revision: str | None = None
    """Branch, tag or commit of a hub model; null means its default branch."""
    cache_dir: PathField | None = None
    """Where hub models are kept; null means the library's own cache."""
    allow_download: bool = True
    """Download a hub model that is not in the cache. The cache is always tried first."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 where the device computes in it, else float32."""
    base_url: Annotated[str, AfterValidator(_http_url)] = "http://127.0.0.1:8000/v1"
    """Where the server of `openai_api` listens, up to and with `/v1`."""
    api_key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the server's key; no key is sent where it is not set. Keys stand nowhere else."""
    deadline: float = Field(default=30.0, gt=0, le=3600)
    """Seconds for one picture, all its requests, waits and retries included; then retrieval's answer stands."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests under way at a time."""
    retries: int = Field(default=2, ge=0, le=10)
    """Further attempts after a lost connection, 429, 502, 503 or 504; each waits longer, or as long as it is told."""
    breaker_failures: int = Field(default=5, ge=1)
    """Failures in a row after which the server is left alone for a while."""
    breaker_seconds: float = Field(default=30.0, gt=0)
    """Seconds for which it is left alone; then one request tries again."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_visual_tokens > self.max_visual_tokens:
            raise ValueError(
                f"min_visual_tokens ({self.min_visual_tokens}) must not exceed max_visual_tokens "
                f"({self.max_visual_tokens})"
            )
        return self
