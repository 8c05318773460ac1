"""Open the configured index."""

from __future__ import annotations

from collections.abc import Sequence

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.index_location import IndexLocation, index_location
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.backends.cached_rows import rows_near_here
from lmm_classifier.index.backends.lance_table.calibrations import get_calibration
from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import is_table, read_manifest, table_url
from lmm_classifier.index.matching import require_backends
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig

# Rows of a table from which `search: auto` leaves them in the table: 23 GB of 1,152 numbers each in a local copy.
STORE_FROM = 5_000_000


def open_index(config: RetrievalConfig, backends: Sequence[Sequence[str]]) -> tuple[Index, ...]:
    """Open the configured index once for each of its encoders.

    Args:
        config: names the index.
        backends: for each configured encoder the backends whose vectors it may give, its own first.

    Raises:
        IndexMismatchError: if an encoder cannot be one of the index. This check needs no encoder, so it runs before
            gigabytes are loaded.
    """
    indexes = open_searched(config)
    require_backends(indexes[0].manifest, backends, str(config.index_path))
    return indexes


def open_searched(config: RetrievalConfig, location: IndexLocation | None = None) -> tuple[Index, ...]:
    """Open an index, by default the configured one, as it is searched: in memory, or with its rows in a store.

    Raises:
        ConfigError: the rows shall stay in a store, but the index has a transform that was fitted to its images.
    """
    place = index_location(config.index_path if location is None else location)
    if not uses_store(config, place):
        return Index.open_each(place)
    if is_table(place):
        return _of_table(table_url(place))
    indexes = Index.open_each(place)
    _require_plain([isinstance(index.transform, IdentityTransform) for index in indexes], place)
    return tuple(StoreIndex(MemoryRowStore(index), index.contents, index.encoder) for index in indexes)


def uses_store(config: RetrievalConfig, location: IndexLocation) -> bool:
    """Return whether the examples of an index are left in a store of rows."""
    if config.search != "auto" or not is_table(location):
        return config.search == "store"
    manifest = read_manifest(location)
    return manifest is not None and manifest.count >= STORE_FROM


def _of_table(url: str) -> tuple[StoreIndex, ...]:
    manifest = read_manifest(url)
    if manifest is not None:
        _require_plain([entry.transform == IdentityTransform.name for entry in manifest.encoders], url)
    first = LanceRowStore.open(url)
    stores = [first, *(first.of_encoder(place) for place in range(1, len(first.manifest.encoders)))]
    extras, (calibration, number) = first.about.extras, get_calibration(url)
    vectors = tuple(EncoderVectors(arrays, lambda: ()) for arrays in extras.transforms)
    contents = IndexContents(
        first.manifest,
        first.label_names,
        (),
        (),
        vectors,
        calibration=calibration,
        dismissals=extras.dismissals,
        milliseconds=extras.milliseconds,
        stamp=f"{first.version} {number}",
    )
    return tuple(
        StoreIndex(rows_near_here(store, f"{url} {place}"), contents, place) for place, store in enumerate(stores)
    )


def _require_plain(plain: Sequence[bool], location: IndexLocation) -> None:
    if not all(plain):
        raise ConfigError(
            f"{location} has a transform that was fitted to its images, but retrieval.search: store takes encoders "
            "whose own space is searched. Set retrieval.search: exact, or ann."
        )
