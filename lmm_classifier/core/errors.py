"""Every error a user can meet; catch `LmmClassifierError` to catch them all.

LmmClassifierError
├── ConfigError (ValueError)            a setting is unknown, of the wrong type or contradicts another
├── MissingExtraError (ImportError)     an optional library is not installed; says what to type
├── CorpusError (ValueError)            the folder of labelled pictures cannot be used
├── ImageError (ValueError)             a file that does not become a picture; has a short `kind`
│   ├── UnreadableImageError            the file cannot be opened or read
│   ├── UnsupportedImageError           its bytes are not of an accepted format
│   ├── CorruptImageError               the format is right, the content is broken
│   └── ImageTooLargeError              more pixels or bytes than allowed
├── EncoderError (RuntimeError)         the encoder cannot be loaded or gives no usable vectors
├── IndexFileError (ValueError)         the index is missing, damaged or not an index
│   └── IndexMismatchError              the index was built by another encoder
├── CalibrationError (ValueError)       the corpus cannot give what a calibration was asked for
└── RerankerError (RuntimeError)        the reranker cannot be loaded
"""

from __future__ import annotations

from typing import ClassVar


class LmmClassifierError(Exception):
    """The root of all errors that this package raises on purpose."""


class ConfigError(LmmClassifierError, ValueError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class MissingExtraError(LmmClassifierError, ImportError):
    """An optional library is not installed; the message says what to type."""


class CorpusError(LmmClassifierError, ValueError):
    """The folder of labelled pictures cannot be used."""


class ImageError(LmmClassifierError, ValueError):
    """A file that does not become a picture; `kind` is a short stable name to group by."""

    kind: ClassVar[str] = "image"
    content_hash: str | None = None  # SHA-256 of the file's bytes, where they could be read


class UnreadableImageError(ImageError):
    """The file cannot be opened or read."""

    kind = "unreadable"


class UnsupportedImageError(ImageError):
    """The bytes are not of an accepted picture format."""

    kind = "unsupported"


class CorruptImageError(ImageError):
    """The format is right, but the content is broken."""

    kind = "corrupt"


class ImageTooLargeError(ImageError):
    """The picture has more pixels or bytes than the limits allow."""

    kind = "too_large"


class EncoderError(LmmClassifierError, RuntimeError):
    """The encoder cannot be loaded or gives no usable vectors."""


class IndexFileError(LmmClassifierError, ValueError):
    """The index is missing, damaged, or not an index."""


class IndexMismatchError(IndexFileError):
    """The index was built by another encoder than the one in use."""


class CalibrationError(LmmClassifierError, ValueError):
    """The corpus cannot give what a calibration was asked for; the message says what it would take."""


class RerankerError(LmmClassifierError, RuntimeError):
    """The reranker cannot be loaded."""
