"""An index that is open, with its encoders and all that decides by its examples; it is followed when it changes."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ClosedError, ConfigError, IndexFileError, IndexMismatchError
from lmm_classifier.core.index_location import absolute_location, index_location
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.core.protocols import DecisionPolicy, Encoder, Reranker
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.given import BACKEND, GivenVectors
from lmm_classifier.embeddings.opening import backends_of, close_encoders, open_encoders
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import is_table
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.matching import require_backends
from lmm_classifier.index.opening import open_searched
from lmm_classifier.index.settings.remembered import config_of_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.index.watcher import IndexWatcher, NoWatcher
from lmm_classifier.pipeline.following.current_flow import CurrentFlow
from lmm_classifier.pipeline.hierarchy.roll_up import RollUp
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.pipeline.thresholds import Thresholds
from lmm_classifier.rerank.benefit import RerankerBenefit


class OpenedIndex:
    """What `HybridClassifier` is apart from the images: it opens, follows and closes an index with its encoders."""

    _closed = False

    def __init__(
        self, config: PipelineConfig, encoder: Encoder | Sequence[Encoder] | None = None, index: Index | None = None
    ) -> None:
        self.config: PipelineConfig = config.model_copy(deep=True)
        self._given, self._given_index = encoder, index
        path = absolute_location(config.retrieval.index_path)
        watcher = IndexWatcher(Path(path)) if index is None and not is_table(path) else NoWatcher()
        indexes = open_searched(config.retrieval) if index is None else _alone(index)
        manifest = indexes[0].manifest
        if encoder is None and [section.backend for section in config.encoders] == [BACKEND]:
            _require_name(config.encoders[0], manifest, str(config.retrieval.index_path))
            # whatever made the vectors of the index made those that are given
            self._encoders: tuple[Encoder, ...] = tuple(map(GivenVectors, manifest.fingerprints))
            self.config.rerank.enabled = False  # it would need an image
        else:
            require_backends(manifest, backends_of(config.encoders, encoder), str(config.retrieval.index_path))
            self._encoders = open_encoders(config.encoders, encoder)
        self.config.start_paths_at(Path.cwd())  # the program may go to another folder, and so may a copy
        self.config.retrieval.index_path = path
        self._current_flow = CurrentFlow(self.config, self._encoders, indexes, watcher)

    @classmethod
    def open(cls, index_path: Path | str, config: PipelineConfig | None = None) -> Self:
        """Open an index with the encoders and the reranker that it remembers; see `config_of_index`.

        Args:
            index_path: a durable index (folder), an `.npz` file, or a table.
            config: further settings, which come before what the index remembers. Its `retrieval.index_path` is not
                used.

        Example:
            >>> from lmm_classifier import HybridClassifier
            >>> with HybridClassifier.open("index") as classifier:
            ...     [encoder.fingerprint.backend for encoder in classifier.encoders]
            ['descriptor']
        """
        chosen = config_of_index(index_path, config).model_copy(deep=True)
        chosen.retrieval.index_path = index_location(index_path)
        return cls(chosen)

    def close(self) -> None:
        """Give back the index, the model and the connections to a server; closing it twice is no error.

        An encoder that was given to the constructor stays open. Close a classifier when no thread uses it: after that,
        every use raises ClosedError.
        """
        if self._closed or not self._current_flow.close():
            return
        self._closed = True
        if self._given is None:
            close_encoders(self._encoders)
        del self._encoders, self._given
        backends = {self.config.rerank.backend, *(encoder.backend for encoder in self.config.encoders)}
        if backends - {"descriptor", "vectors", "views"}:
            gc.collect()  # models refer to themselves, so their memory would stay in use for a while

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...], bool]:
        """Pickle as the configuration: a copy, also in another process, opens the index and the model again."""
        self._check_open()
        return type(self), (self.config, self._given, self._given_index), self._current_flow.in_background

    def __setstate__(self, in_background: bool) -> None:
        if in_background:
            self.follow_in_background()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("This classifier is closed. Open another one with HybridClassifier(config).")

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """Return the encoders in use, in the order of the configuration."""
        self._check_open()
        return self._encoders

    def follow_in_background(self) -> None:
        """Let a thread follow the index from now on, so that no call waits until a new version is open.

        Until then answers come from the former version. A rule that was fitted because the index is not calibrated is
        kept while few examples change. So answers may differ slightly from those of a classifier that is opened anew;
        `retriever.is_carried` says whether they can. Calibrate the index to have the same answers everywhere.
        """
        self._check_open()
        self._current_flow.follow_in_background()

    def wait_for_index(self, timeout: float = 60.0) -> bool:
        """Wait at most `timeout` seconds until all edits made before count; return whether they do."""
        self._check_open()
        return self._current_flow.wait(timeout)

    @property
    def index_version(self) -> int:
        """Return the version of the index that answers."""
        return self.index.contents.version

    @property
    def index_lag(self) -> float:
        """Return the seconds since the oldest edit that does not count yet; 0 where all count."""
        self._check_open()
        return self._current_flow.lag

    def editor(self) -> IndexEditor:
        """Return an editor of the index in use, with the encoders in use; its edits count from the next image on."""
        if self._given_index is not None:
            raise IndexFileError("The index is in memory, so it cannot be edited. Save it, and open what was saved.")
        return IndexEditor(self.config.retrieval.index_path, self.config, self.encoders)

    @property
    def index(self) -> Index:
        """Return the examples that are searched, with the vectors of the first encoder."""
        return self._current_flow().index

    @property
    def retriever(self) -> Retriever:
        """Return the index with its fitted rule."""
        return self._current_flow().retriever

    @property
    def hierarchy(self) -> LabelHierarchy | None:
        """Return the hierarchy in use, which may name labels without examples; None where there is none."""
        return self._current_flow().hierarchy

    @property
    def roll_up(self) -> RollUp | None:
        """Return what rolls up to coarse labels; None where no label has one above it."""
        return self._current_flow().roll_up

    @property
    def thresholds(self) -> Thresholds:
        """Return the thresholds in use, each with its source."""
        return self._current_flow().thresholds

    @property
    def policy(self) -> DecisionPolicy:
        """Return the policy that turns scores into decisions."""
        return self._current_flow().policy

    @property
    def reranker(self) -> Reranker | None:
        """Return the reranker that is asked where labels compete, None where it is switched off."""
        return self._current_flow().reranker

    @property
    def reranker_benefit(self) -> RerankerBenefit | None:
        """Return what was measured of this reranker, None where it was not."""
        return self._current_flow().reranker_benefit


def _require_name(section: EncoderConfig, manifest: Manifest, source: str) -> None:
    """Raise IndexMismatchError where the configuration names other vectors than those of the index."""
    names = [fingerprint.model for fingerprint in manifest.fingerprints]
    if "model" in section.model_fields_set and section.model not in names:
        raise IndexMismatchError(
            f"Index {source} has vectors of {', '.join(map(repr, names))}, but encoder.model is {section.model!r}."
        )


def _alone(index: Index) -> tuple[Index, ...]:
    if not isinstance(index, Index):
        raise ConfigError(f"expected an Index, such as Index.from_vectors makes, got {type(index).__name__}")
    if len(index.contents.vectors) != 1:
        raise ConfigError(
            f"The index has vectors of {len(index.contents.vectors)} encoders, but expected those of one. Name it by "
            "retrieval.index_path instead."
        )
    return (index,)
