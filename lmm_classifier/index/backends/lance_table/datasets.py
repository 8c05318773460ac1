"""The library lance: opening, creating and committing its datasets. No other file imports it.

A dataset is a folder of files that never change, and a manifest for each version. A commit puts one new manifest, so
readers see whole versions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lmm_classifier.core.errors import IndexFileError, LmmClassifierError
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.redaction import quote_foreign

_EXTRA = "lance"
_PLACE = re.compile(r",? \S+\.rs:\d+:\d+")  # where in its source lance found an error
_QUOTED = 800  # characters of its message: the reason of an object store follows a long address
_ABSENT = ("was not found", "not found", "no such file", "does not exist")  # in messages of lance


def arrow() -> Any:
    """Return the module pyarrow; raises MissingExtraError where it is not installed."""
    return import_optional("pyarrow", _EXTRA)


def compute() -> Any:
    """Return the module pyarrow.compute."""
    return import_optional("pyarrow.compute", _EXTRA)


def lance() -> Any:
    """Return the module lance; raises MissingExtraError where it is not installed."""
    os.environ.setdefault("LANCE_LOG", "error")  # it prints warnings about its own future versions
    return import_optional("lance", _EXTRA)


@dataclass(frozen=True)
class Location:
    """A dataset: a path, or a URL of an object store."""

    url: str

    def __str__(self) -> str:
        return self.url

    def open(self, version: int | str | None = None) -> Any:
        """Open a version, by default the newest; raise IndexFileError where there is none."""
        library = lance()
        with translated(self.url):
            return library.dataset(self.url, version=version, storage_options=storage_options(self.url))

    def open_if_there(self, version: int | str | None = None) -> Any | None:
        """Open a version; return None where there is no such dataset or version."""
        library = lance()
        try:
            return library.dataset(self.url, version=version, storage_options=storage_options(self.url))
        except (ValueError, OSError, RuntimeError) as error:
            if any(text in str(error).lower() for text in _ABSENT):
                return None
            raise cannot(self.url, error) from error

    def create(self, table: Any) -> Any:
        """Create it with this table; where it is there already, by another process just now too, open that."""
        library = lance()
        try:
            return library.write_dataset(table, self.url, mode="create", storage_options=storage_options(self.url))
        except (ValueError, OSError, RuntimeError) as error:
            if (there := self.open_if_there()) is None:
                raise cannot(self.url, error) from error
            return there

    def write_fragments(self, rows: Any, schema: Any, opened: Any = None) -> list[Any]:
        """Write rows to files that belong to no version yet; return what a commit names them by.

        `opened` is any version of the dataset. Without it the newest one is opened, which takes longer the more files
        it has.
        """
        with translated(self.url):
            fragments: list[Any] = lance().fragment.write_fragments(
                rows,
                self.url if opened is None else opened,
                schema=schema,
                mode="append",
                storage_options=storage_options(self.url),
            )
            return fragments

    def append(self, fragments: Sequence[Any], read_version: int, properties: Mapping[str, str]) -> Any:
        """Commit a version with more fragments."""
        operations = lance().LanceOperation
        return self._commit(operations.Append(fragments), read_version, properties)

    def add_rows(self, rows: Any) -> None:
        """Commit a version with more rows, for which it does not matter that a failed commit may have been stored."""
        self.create(rows.schema.empty_table())
        with translated(self.url):
            lance().write_dataset(rows, self.url, mode="append", storage_options=storage_options(self.url))

    def overwrite(self, schema: Any, fragments: Sequence[Any], read_version: int | None = None) -> Any:
        """Commit a version that has only these fragments; with `read_version`, only as the one after it."""
        operations = lance().LanceOperation
        if read_version is None:
            there = self.open_if_there()
            read_version = 0 if there is None else there.version
        return self._commit(operations.Overwrite(schema, fragments), read_version, {})

    def _commit(self, operation: Any, read_version: int | None, properties: Mapping[str, str]) -> Any:
        library = lance()
        transaction = library.Transaction(read_version or 0, operation, transaction_properties=dict(properties))
        with translated(self.url):
            # lance itself must not try again: it cannot tell whether the first try was stored
            return library.LanceDataset.commit(
                self.url, transaction, max_retries=0, storage_options=storage_options(self.url)
            )


def clean_up(location: Location, older_than: timedelta) -> int:
    """Delete old versions of a dataset, if there is one, but for tagged ones; return the bytes of their files."""
    dataset = location.open_if_there()
    if dataset is None:
        return 0
    with translated(location.url):
        stats = dataset.cleanup_old_versions(older_than=older_than, error_if_tagged_old_versions=False)
    return int(stats.bytes_removed)


def fragment_to_json(fragment: Any) -> dict[str, Any]:
    """Return a fragment that no version has yet as plain values, so that another process can commit it."""
    values: dict[str, Any] = fragment.to_json()
    return values


def fragment_from_json(values: Mapping[str, Any]) -> Any:
    """Undo `fragment_to_json`."""
    import json

    return lance().fragment.FragmentMetadata.from_json(json.dumps(values))


def storage_options(url: str) -> dict[str, str] | None:
    """Return what lance must know of an object store beyond what it reads from the environment itself.

    `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL` name the server, as for other programs; without encryption where they
    begin with `http://`.
    """
    if not url.startswith("s3://"):
        return None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    options = {"region": region}
    if endpoint:
        options |= {"endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}
    return options


@contextmanager
def translated(source: str) -> Iterator[None]:
    """Turn errors of lance into IndexFileError without secrets."""
    try:
        yield
    except LmmClassifierError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        raise cannot(source, error) from error


def cannot(source: str, error: Exception) -> IndexFileError:
    """Return the error that says that a dataset cannot be used, and why."""
    text = _PLACE.sub("", str(error))
    return IndexFileError(
        f"{source} cannot be used: {quote_foreign(text, limit=_QUOTED).rstrip('.') or type(error).__name__}."
    )
