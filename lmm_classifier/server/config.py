"""The settings of the HTTP server."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from lmm_classifier.core.settings import PathField, Settings

RootName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


class ServerConfig(Settings):
    """Where `serve` listens, who may ask, and the limits that it keeps."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen at. One that other machines reach needs a token, else the server does not start."""
    port: int = Field(default=8321, ge=0, le=65535)
    """Port to listen at; 0 lets the system choose one."""
    allowed_hosts: list[str] = Field(default=[])
    """Names under which the server is reached, such as `images.example.org`; names of this machine are always
    accepted where it listens at a loopback address. With a token and an empty list, every name is."""
    token_env: str = Field(default="LMM_CLASSIFIER_TOKEN", pattern=_VARIABLE)
    """Environment variable with the token for everything: reading and changing the index."""
    read_token_env: str = Field(default="LMM_CLASSIFIER_READ_TOKEN", pattern=_VARIABLE)
    """Environment variable with a token that may classify and read, but change nothing."""
    queue: int = Field(default=64, ge=1, le=100_000)
    """Images that may wait; one more is refused with 429 and the time after which to try again."""
    max_batch: int | None = Field(default=None, ge=1, le=4096)
    """Images that are encoded together; null takes what suits the encoders."""
    deadline: float = Field(default=5.0, gt=0, le=60)
    """Seconds until an image is answered, from its last byte on; then its request ends with 504. A request can name
    another time."""
    max_body: int = Field(default=32_000_000, ge=1)
    """Bytes of one image."""
    max_multipart: int = Field(default=256_000_000, ge=1)
    """Bytes of one form with several images."""
    max_parts: int = Field(default=64, ge=1, le=1000)
    """Parts of one form."""
    max_bytes: int = Field(default=256_000_000, ge=1)
    """Bytes of all bodies that are being received, and as many of all images that wait."""
    max_headers: int = Field(default=16_384, ge=1024)
    """Bytes of the headers of a request."""
    header_seconds: float = Field(default=5.0, gt=0)
    """Seconds in which the headers of a request must arrive."""
    body_seconds: float = Field(default=5.0, gt=0)
    """Seconds in which a body must arrive, plus the time for `body_rate`."""
    body_rate: int = Field(default=50_000, ge=1)
    """Bytes per second at which a body must arrive at least, after the first `body_seconds`."""
    write_seconds: float = Field(default=30.0, gt=0)
    """Seconds in which a client must take some of an answer."""
    keep_alive_seconds: float = Field(default=15.0, gt=0)
    """Seconds that a connection stays open between two requests."""
    connections: int = Field(default=512, ge=1)
    """Connections at a time; one more is told so and closed."""
    drain_seconds: float = Field(default=10.0, ge=0)
    """Seconds for requests under way when the server is asked to end."""
    thumbnail_bytes: int = Field(default=64_000_000, ge=0)
    """Bytes of small images that are kept in memory; none is ever stored."""
    keep_edits_days: float | None = Field(default=None, ge=0)
    """Days after which edits are forgotten, and their images in the trash deleted; null keeps them, so that each can be
    undone."""
    keep_runs_days: float | None = Field(default=None, ge=0)
    """Days after which runs are deleted, with their results, answers and uploaded images; null keeps them."""
    roots: dict[RootName, PathField] = Field(default={})
    """Folders, or archives and tables, whose images people may let classify from their browser, by a short name; no
    other folder is read."""
    max_run_images: int = Field(default=100_000, ge=1)
    """Images of one run."""
    max_upload_bytes: int = Field(default=10_000_000_000, ge=0)
    """Bytes of all images that were uploaded into runs; deleting a run gives its bytes back."""
