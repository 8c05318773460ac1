"""Which chunks are there, and which file of one is to be used."""

import pytest

from lmm_classifier.distributed.chunk_folder import ChunkFolder, StoredChunk
from lmm_classifier.distributed.chunk_rows import FileRow, to_table
from lmm_classifier.distributed.chunks import Chunk
from lmm_classifier.distributed.listing import ListedFile

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

NAME = "0123456789abcdef" * 2
FILE = ListedFile("a/1", "a", 1, 2, 3)
TABLE = to_table([FileRow(FILE, None, (), "unreadable", "gone", False)], [4], "x")


@pytest.fixture
def folder(tmp_path):
    return ChunkFolder(str(tmp_path))


@pytest.mark.parametrize(
    ("tries", "best"), [([], None), ([1], 1), ([2, 1], 2), ([1, 0, 2], 0), ([0], 0), ([1, 2, 10], 10)]
)
def test_the_best_file_of_a_chunk_is_used(folder, tries, best):
    """The complete one, or else the one of the latest try."""
    for number in tries:
        folder.put(StoredChunk(NAME, number), TABLE)
    stored = folder.stored().get(NAME)
    assert (None if stored is None else stored.tries) == best
    if sorted(tries) == list(range(1, len(tries) + 1)) or best == 0:
        assert folder.best(NAME) == stored


def test_other_files_are_no_chunks(folder):
    """Such as those of other programs."""
    for name in ("chunks/01/notes.parquet", f"chunks/{NAME}.parquet", f"chunks/01/{NAME}.tmp"):
        folder.files.put(name, b"x")
    assert folder.stored() == {}


def test_a_listing_comes_back(folder):
    """And an absent one raises an error that the caller can tell."""
    chunk = Chunk(NAME, "images", (FILE,))
    folder.put_listing(chunk)
    assert folder.listing(NAME) == chunk
    with pytest.raises(FileNotFoundError):
        folder.listing("f" * 32)


def test_tries_are_counted_by_run(folder):
    """Each begin counts; at the end of the run nothing of it is left."""
    assert [folder.begin("run", NAME) for _ in range(3)] == [1, 2, 3]
    assert folder.begin("run", f"{NAME}.0-2") == 1
    assert folder.begin("other", NAME) == 1
    folder.put_part("run", f"{NAME}.0-2", b"rows")
    assert folder.part("run", f"{NAME}.0-2") == b"rows"
    assert folder.part("run", f"{NAME}.2-4") is None
    folder.end("run")
    assert folder.part("run", f"{NAME}.0-2") is None
    assert folder.begin("run", NAME) == 1
    assert folder.begin("other", NAME) == 2
