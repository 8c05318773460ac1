"""Every error that a user can meet; catch `LmmClassifierError` to catch them all.

Error                               Also a        Raised when
LmmClassifierError                  Exception     never itself; it is the root
├── ConfigError                     ValueError    a setting is unknown, has the wrong type or contradicts another
│   └── NoSuchLabelError                          a label that may be answered is none of the index
├── MissingExtraError               ImportError   an optional library is not installed; the message says what to type
├── DatasetError                    ValueError    the folder of labeled images cannot be used
│   └── LastExampleError                          an edit would leave an index without examples
├── ImageError                      ValueError    a file cannot become an image; `kind` names the group
│   ├── UnreadableImageError                      the file cannot be opened or read
│   ├── UnsupportedImageError                     its bytes are not in an accepted format
│   ├── CorruptImageError                         the format is right, the content is broken
│   ├── ImageTooLargeError                        it has more pixels or bytes, or costs more, than the limits allow
│   ├── ImageSizeError                            its boxes count in pixels of another size
│   └── UndecodedImageError                       decoding was stopped; another try may succeed
├── ImageInputError                 TypeError     an argument is not of a type or shape that can be an image
├── VectorError                     ValueError    given vectors are no rows of finite numbers, or of another length
├── ClosedError                     RuntimeError  a classifier is used after it was closed
├── QueueFullError                  RuntimeError  a queue has no room, or no time, for one more image
├── DeadlineError                   TimeoutError  an image was not answered before its deadline
├── EncoderError                    RuntimeError  the encoder cannot be loaded or gives no usable vectors
├── IndexFileError                  ValueError    the index is missing, damaged or not an index
│   ├── IndexMismatchError                        another encoder built the index
│   ├── ReplacementError                          most of an index would be removed, which was not asked for
│   └── UndoError                                 an edit cannot be undone: it is the first, or images are missing
├── ConflictError                   ValueError    an edit expected examples that changed since; `conflicts` names them
├── CalibrationError                ValueError    the dataset cannot give what the calibration was asked for
│   └── StaleCalibrationError                     the index was changed since it was calibrated, or never was
├── OutputError                      RuntimeError  results cannot be written, or not continued
├── EngineError                     RuntimeError  workers cannot be started, or end again and again
├── ServerError                     RuntimeError  a server that classifies cannot be reached, or refuses to answer
├── RerankerError                   RuntimeError  the reranker cannot be loaded
├── ReviewError                     ValueError    runs cannot be stored or read, or an answer cannot be taken
│   ├── AnsweredError                             another answer decided the same items
│   ├── NoSuchRunError                            a run, an item or an answer does not exist, or not any more
│   └── RunsFileError                             the file of the runs cannot be opened, read or written
└── Cancelled                                     never by the package; a progress callback raises it to stop a run
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self


class LmmClassifierError(Exception):
    """The root of all errors that this package raises on purpose.

    Example:
        >>> from lmm_classifier import LmmClassifierError, PipelineConfig
        >>> try:
        ...     PipelineConfig().set("retrieval.k=many")
        ... except LmmClassifierError as error:
        ...     print(type(error).__name__)
        ConfigError
    """


class ConfigError(LmmClassifierError, ValueError):
    """A setting is unknown, has the wrong type, or contradicts another."""


class NoSuchLabelError(ConfigError):
    """The index has no example of a label that was asked for; the message names the nearest ones."""


class MissingExtraError(LmmClassifierError, ImportError):
    """An optional library is not installed; the message says what to type."""


class DatasetError(LmmClassifierError, ValueError):
    """The folder of labeled images, or a label, cannot be used."""


class LastExampleError(DatasetError):
    """An edit would leave an index without examples."""


class ImageError(LmmClassifierError, ValueError):
    """A file cannot become an image; `kind` is a short stable name to group by."""

    kind: ClassVar[str] = "image"
    proven: ClassVar[bool] = False  # the bytes alone prove the refusal, so that it may be stored
    content_hash: str | None = None  # SHA-256 of the file's bytes, where they could be read


class UnreadableImageError(ImageError):
    """The file cannot be opened or read."""

    kind = "unreadable"


class UnsupportedImageError(ImageError):
    """The bytes are not in an accepted image format."""

    kind = "unsupported"
    proven = True


class CorruptImageError(ImageError):
    """The format is right, but the content is broken."""

    kind = "corrupt"
    proven = True


class ImageTooLargeError(ImageError):
    """The image has more pixels or bytes than the limits allow, or its structure asks for more time or memory."""

    kind = "too_large"
    proven = True


class ImageSizeError(ImageError):
    """The image has another size than the file of its boxes says. That file may be corrected, so it is not proven."""

    kind = "other_size"


class UndecodedImageError(ImageError):
    """Decoding was stopped by a limit, a lack of memory or file handles, or the end of a process.

    This says nothing about the file: it is never stored, and the next run tries again.
    """

    kind = "not_decoded"


class ImageInputError(LmmClassifierError, TypeError):
    """An argument is not of a type or shape that can be an image; the message says what is accepted."""


class VectorError(LmmClassifierError, ValueError):
    """Vectors that were given cannot be compared: their shape, their number type, or a row without a direction.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier import Index, VectorError
        >>> try:
        ...     Index.from_vectors(np.zeros((1, 8)), ["cat"])
        ... except VectorError as error:
        ...     print(error)
        The vector in row 0 is zero, so it has no direction. Leave it out.
    """


class ClosedError(LmmClassifierError, RuntimeError):
    """A classifier is used after it was closed."""


class QueueFullError(LmmClassifierError, RuntimeError):
    """A queue has no room, or no time, for one more image; it was not taken."""

    def __init__(
        self, message: str, retry_after: float = 1.0, depth: int = 0, limit: int = 0, why: str = "images"
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds in which the images that wait now will be answered, at the measured rate."""
        self.depth = depth
        """Images that wait."""
        self.limit = limit
        """Images that may wait."""
        self.why = why
        """What there is too much of, such as `images` or `bytes`; `deadline` where the time is too short."""


class DeadlineError(LmmClassifierError, TimeoutError):
    """An image was not answered before its deadline."""


class EncoderError(LmmClassifierError, RuntimeError):
    """The encoder cannot be loaded or gives no usable vectors."""


class IndexFileError(LmmClassifierError, ValueError):
    """The index is missing, damaged, or not an index."""


class IndexMismatchError(IndexFileError):
    """Another encoder than the configured one built the index."""


class ReplacementError(IndexFileError):
    """A build or a sync would remove most of an index, or is of another dataset, and that was not asked for."""


class UndoError(IndexFileError):
    """An edit cannot be undone: there is none, it made the index, or what it removed is not there any more."""


class ConflictError(LmmClassifierError, ValueError):
    """An edit expected examples to be as its caller saw them, but they changed since. Nothing was changed.

    `conflicts` has the id of each such example, with the label that was expected and the label now: "" where no example
    was expected, None where there is none.

    Example:
        >>> from lmm_classifier import ConflictError
        >>> error = ConflictError.of({"stripes/17.png": ("stripes", "gingham")})
        >>> print(error)
        1 example has changed since: 'stripes/17.png' is 'gingham', not 'stripes'. Nothing was changed.
    """

    def __init__(self, message: str, conflicts: Mapping[str, tuple[str, str | None]]) -> None:
        super().__init__(message)
        self.conflicts: dict[str, tuple[str, str | None]] = dict(conflicts)

    def __reduce__(self) -> tuple[type[Self], tuple[str, dict[str, tuple[str, str | None]]]]:
        return type(self), (str(self), self.conflicts)

    @classmethod
    def of(cls, conflicts: Mapping[str, tuple[str, str | None]]) -> Self:
        """Return the error for these conflicts, with a message that names the first ones."""
        listed = "; ".join(_conflict(path, *labels) for path, labels in list(conflicts.items())[:3])
        more = f"; and {len(conflicts) - 3} more" if len(conflicts) > 3 else ""
        count = "1 example has" if len(conflicts) == 1 else f"{len(conflicts)} examples have"
        return cls(f"{count} changed since: {listed}{more}. Nothing was changed.", conflicts)


def _conflict(path: str, expected: str, now: str | None) -> str:
    if now is None:
        return f"{path!r} is no example any more"
    return f"{path!r} is {now!r}, not {expected!r}" if expected else f"{path!r} is an example now"


class CalibrationError(LmmClassifierError, ValueError):
    """The dataset cannot give what the calibration was asked for; the message says what is needed."""


class StaleCalibrationError(CalibrationError):
    """What is asked for takes a calibration of the index as it is now. Calibrate it first."""


class OutputError(LmmClassifierError, RuntimeError):
    """Results cannot be written, or a file of results cannot be continued; what is there is kept."""


class EngineError(LmmClassifierError, RuntimeError):
    """Workers cannot be started, or end again and again; the message says what to do. What is finished stays."""


class ServerError(LmmClassifierError, RuntimeError):
    """A server that classifies cannot be reached, or refuses to answer; the message says what to do."""


class RerankerError(LmmClassifierError, RuntimeError):
    """The reranker cannot be loaded."""


class ReviewError(LmmClassifierError, ValueError):
    """Runs cannot be stored or read, or an answer cannot be taken; the message says why. Nothing was changed."""


class AnsweredError(ReviewError):
    """Another answer decided the same items before or since. Nothing was changed."""


class NoSuchRunError(ReviewError):
    """A run, an item or an answer does not exist: it was deleted, or it is of another index."""


class RunsFileError(ReviewError):
    """The file of the runs cannot be opened, read or written; the message says what to do."""


class Cancelled(LmmClassifierError):  # noqa: N818 - as in asyncio, it is no fault
    """A progress callback raises it to stop a long run between two batches.

    Example:
        >>> from lmm_classifier import Cancelled, Progress
        >>> def stop_after_1000(progress: Progress) -> None:
        ...     if progress.done >= 1000:
        ...         raise Cancelled("1000 images are enough")
        >>> stop_after_1000(Progress("encoding", done=640, total=5000))
        >>> try:
        ...     stop_after_1000(Progress("encoding", done=1024, total=5000))
        ... except Cancelled as reason:
        ...     print(reason)
        1000 images are enough
    """
