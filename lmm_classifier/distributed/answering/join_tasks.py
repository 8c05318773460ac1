"""What the workers of a join are asked to do, and what they tell."""

from __future__ import annotations

from dataclasses import dataclass

from lmm_classifier.distributed.answering.answer_chunks import AnswerChunk

# For each encoder that images were compared by: its place, and where the ranges of labels begin.
Compared = tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """Encode images of a chunk by the encoders of one step of the cascade, and find which labels compete for them.

    The first step is for all images. A later one is for those that the steps before left unsure: their images were
    `compared` already.
    """

    chunk: AnswerChunk
    step: int = 0
    compared: Compared = ()


@dataclass(frozen=True, slots=True)
class RangeTask:
    """Compare the images of some chunks with rows of labels of one range, by an encoder of a step."""

    names: tuple[str, ...]  # of the chunks
    step: int
    encoder: int  # its place
    start: int  # first label of the range
    stop: int
    label_ids: tuple[int, ...]  # those of the range that compete for any of the images, ascending


@dataclass(frozen=True, slots=True)
class DecideTask:
    """Decide on the images of a chunk, which were compared."""

    chunk: AnswerChunk
    compared: Compared


@dataclass(frozen=True, slots=True)
class CompetingLabels:
    """The labels that compete for the images of a chunk by one encoder, and the ranges of all labels."""

    encoder: int  # its place
    label_ids: tuple[int, ...]
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class JoinOutcome:
    """What a task did; of an encoded chunk, what competes for its images, and how many steps there are."""

    name: str
    competing: tuple[CompetingLabels, ...] = ()
    steps: int = 1


JoinTask = EncodeTask | RangeTask | DecideTask
