"""A run finds the chunks of the run before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import OutputError
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.chunks import Chunk
from lmm_classifier.distributed.listing import ListedFile
from lmm_classifier.distributed.runs import FormerChunks, PlannedChunk, Run, latest_run, new_run_id, read_run, write_run


def test_the_latest_run_of_the_same_kind_is_found(tmp_path):
    """Others, over another dataset or with another encoder, are not."""
    folder = ChunkFolder(str(tmp_path))
    assert latest_run(folder, "encoder", "images") is None
    run = Run(new_run_id("encoder", "images"), (PlannedChunk("a" * 32, "a/1", "a/9", 9),))
    write_run(folder, Run(run.id.replace("-20", "-10", 1), ()))
    write_run(folder, run)
    write_run(folder, Run(new_run_id("other", "images"), ()))
    write_run(folder, Run(new_run_id("encoder", "others"), ()))
    assert latest_run(folder, "encoder", "images") == run


def test_a_damaged_run_is_told(tmp_path):
    """With what to do."""
    folder = ChunkFolder(str(tmp_path))
    folder.files.put("runs/x", b"no run")
    with pytest.raises(OutputError, match="Delete it and run again"):
        read_run(folder, "runs/x")


def test_a_planned_chunk_tells_its_first_and_last_file():
    """By id."""
    files = tuple(ListedFile(path, "a", 1, 2, 3) for path in ("b", "a", "c"))
    assert PlannedChunk.of(Chunk("n", "s", files)) == PlannedChunk("n", "a", "c", 3)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), max_size=8), st.integers(0, 40), st.integers(0, 6))
def test_chunks_that_overlap_are_found(ranges, start, length):
    """All that are stored, while chunks of a run do not overlap each other."""
    former, end = [], -1
    for first, size in sorted(ranges):
        if first > end:
            end = first + size
            former.append(PlannedChunk(f"{first}", f"{first:03}", f"{end:03}", size + 1))
    stored = {chunk.name for number, chunk in enumerate(former) if number % 3}
    wanted = PlannedChunk("new", f"{start:03}", f"{start + length:03}", 1)
    expected = [c for c in former if c.name in stored and c.first <= wanted.last and c.last >= wanted.first]
    assert list(FormerChunks(Run("run", tuple(former)), stored).overlapping(wanted, most=99)) == expected
