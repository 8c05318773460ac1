"""An encoder that is loaded when the first image is to be encoded."""

from __future__ import annotations

from collections.abc import Callable

from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.core.protocols import Encoder


class LazyEncoder:
    """An encoder that is loaded when the first image is to be encoded."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._loaded: Encoder | None = None
        self._error: Exception | None = None
        self._lock = ForkSafeLock()

    @property
    def is_loaded(self) -> bool:
        """Whether the encoder is loaded."""
        return self._loaded is not None

    def __call__(self) -> Encoder:
        """Return the encoder. The first call loads it; if that fails, every call raises the same error."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._loaded is None:
                try:
                    self._loaded = self._load()
                except Exception as error:
                    self._error = error
                    raise
            return self._loaded
