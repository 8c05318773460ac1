"""Find the image that ends its worker, by marks that outlive the worker: work is split until the image is alone.

A library that decodes or computes may end its process or hang, and no error can be caught then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lmm_classifier.distributed.chunk_folder import ChunkFolder

TRIES = 3  # of a chunk, and of a single image; in between each half is tried once

Row = TypeVar("Row")


@dataclass(frozen=True)
class IsolatedWork(Generic[Row]):
    """The work on one chunk of images, which gives a row for each.

    A chunk whose worker ended three times is split, again and again, until the image that ends workers is found and
    refused. Parts that are done are kept, since this worker may end too.

    Args:
        folder: has the marks and the parts.
        run: names this run; another one begins to count anew.
        name: of the chunk.
        count: its images.
        make: returns the rows of the images from a place to another one.
        refuse: returns the row of an image that ended its worker each time.
        to_bytes: stores rows.
        from_bytes: reads them.
    """

    folder: ChunkFolder
    run: str
    name: str
    count: int
    make: Callable[[int, int], Sequence[Row]]
    refuse: Callable[[int], Row]
    to_bytes: Callable[[Sequence[Row]], bytes]
    from_bytes: Callable[[bytes], Sequence[Row]]
    known: Callable[[int, int], Sequence[Row] | None] = lambda _start, _stop: None  # rows that cost nothing

    def rows(self) -> list[Row]:
        """Return the rows of all images, in order."""
        return self._rows(0, self.count)

    def _rows(self, start: int, stop: int) -> list[Row]:
        is_whole = stop - start == self.count
        name = self.name if is_whole else f"{self.name}.{start}-{stop}"
        if (known := self.known(start, stop)) is not None:
            return list(known)
        if not is_whole and (part := self.folder.part(self.run, name)) is not None:
            return list(self.from_bytes(part))
        tries = self.folder.begin(self.run, name)
        if tries > (TRIES if is_whole or stop - start == 1 else 1):
            if stop - start == 1:
                return [self.refuse(start)]
            middle = (start + stop) // 2
            return [*self._rows(start, middle), *self._rows(middle, stop)]
        rows = list(self.make(start, stop))
        if not is_whole:
            self.folder.put_part(self.run, name, self.to_bytes(rows))
        return rows
