"""What is asked of a suggestion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.discovery.suggestions.label_order import By


@dataclass(frozen=True)
class SuggestionOptions:
    """How many images are suggested, and by what they are weighed.

    Raises ConfigError where `count` or `batch` is below 1, or `by` is none of its values.

    Example:
        >>> from lmm_classifier import SuggestionOptions
        >>> options = SuggestionOptions(count=20, batch=10, by="new")
        >>> options.batch_of(0), options.batch_of(19)
        (1, 2)
    """

    count: int = 20
    """Images to suggest; fewer where there are fewer."""
    batch: int | None = None
    """Images of a batch; by default all are one batch."""
    by: By = "all"
    """`all`: images of new labels and ambiguous ones; or one of `new`, `ambiguous` and `cold_start`."""

    def __post_init__(self) -> None:
        if self.count < 1 or (self.batch is not None and self.batch < 1):
            raise ConfigError(f"Expected at least 1 image and 1 image a batch, got {self.count} and {self.batch}.")
        if self.by not in get_args(By):
            raise ConfigError(f"Expected one of {', '.join(get_args(By))}, got {self.by!r}.")

    def batch_of(self, place: int) -> int:
        """Return the number of the batch, from 1, of a place in the order, from 0."""
        return place // (self.batch or self.count) + 1


DEFAULT_OPTIONS: SuggestionOptions = SuggestionOptions()
