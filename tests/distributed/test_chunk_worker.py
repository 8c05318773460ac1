"""A worker makes each chunk once, and finds the image that ends workers."""

from dataclasses import replace

import pytest

from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.distributed.chunk_folder import ChunkFolder, StoredChunk
from lmm_classifier.distributed.chunk_rows import from_table
from lmm_classifier.distributed.chunk_worker import KILLED, ChunkTask, ChunkWorkerBuilder
from lmm_classifier.distributed.chunks import Chunk, list_chunks
from lmm_classifier.distributed.engines.local import Processes
from lmm_classifier.distributed.listing import DatasetListing, ListedFile
from tests.helpers.chunked_builds import make_labeled
from tests.helpers.ending_workers import EndingEncoder


def planned(labeled, place, most=4096):
    """Write the listings of the chunks of a labeled; return the chunks and a builder of workers."""
    builder = ChunkWorkerBuilder(str(place), labeled.config.model_dump(), "run", threads=1)
    worker = builder()
    listing = DatasetListing(DatasetSpec(str(labeled.root)), labeled.config.images)
    chunks = list(list_chunks(listing.files(), listing.source, worker.made, most))
    for chunk in chunks:
        worker.folder.put_listing(chunk)
    return chunks, builder, worker


def rows_of(place, stored):
    return from_table(ChunkFolder(str(place)).table(stored), stored.stem)


def test_a_chunk_has_a_row_for_each_file(labeled, tmp_path):
    """Good and bad ones, in the order of the listing; a second call finds it."""
    (chunk,), _, worker = planned(labeled, tmp_path)
    outcome = worker(ChunkTask(chunk.name))
    assert (outcome.chunk, outcome.files, outcome.failed) == (StoredChunk(chunk.name), len(chunk.files), 2)
    assert outcome.encoded == len(chunk.files) - 2
    rows = rows_of(tmp_path, outcome.chunk)
    assert [row.file for row in rows] == list(chunk.files)
    assert {row.file.path: row.kind for row in rows if not row.is_good} == {
        "stripes/cut.png": "corrupt",
        "gingham/text.jpg": "unsupported",
    }
    again = worker(ChunkTask(chunk.name))
    assert (again.encoded, again.files, again.failed) == (0, outcome.files, 2)


def test_the_same_chunk_by_two_workers_is_one_file(labeled, tmp_path):
    """Two that begin at once each encode, and one writes."""
    (chunk,), builder, worker = planned(labeled, tmp_path)
    other = builder()
    put = worker.folder.put

    def late_put(stored, table):
        other(ChunkTask(chunk.name))  # it finishes first
        return put(stored, table)

    worker.folder.put = late_put
    assert worker(ChunkTask(chunk.name)).chunk == StoredChunk(chunk.name)
    assert [entry.name for entry in worker.folder.files.entries("chunks")] == [
        f"chunks/{chunk.name[:2]}/{chunk.name}.parquet"
    ]


def test_rows_of_former_chunks_are_taken_over(labeled, tmp_path):
    """A file that is the same is not read, and one of the same content is not encoded."""
    (chunk,), _, worker = planned(labeled, tmp_path)
    first = worker(ChunkTask(chunk.name)).chunk
    files = [file for file in chunk.files if "cut" not in file.path][1:]
    files[3] = files[3]._replace(modified=files[3].modified + 1)  # touched
    changed = Chunk("f" * 32, chunk.source, tuple(files))
    worker.folder.put_listing(changed)
    outcome = worker(ChunkTask(changed.name, (first,)))
    assert (outcome.encoded, outcome.files) == (0, len(files))
    before = {row.file.path: row for row in rows_of(tmp_path, first)}
    for row, file in zip(rows_of(tmp_path, outcome.chunk), files, strict=True):
        assert row.file == file
        assert row.content_hash == before[file.path].content_hash
        assert [v.tobytes() for v in row.vectors] == [v.tobytes() for v in before[file.path].vectors]


def test_rows_of_another_encoder_are_not_taken_over(labeled, tmp_path):
    """Nor those of other limits."""
    (chunk,), builder, worker = planned(labeled, tmp_path)
    first = worker(ChunkTask(chunk.name)).chunk
    config = labeled.config.model_copy(deep=True)
    config.images.max_seconds = 1.5
    other = replace(builder, config=config.model_dump())()
    changed = Chunk("f" * 32, chunk.source, chunk.files[1:])
    worker.folder.put_listing(changed)
    assert other(ChunkTask(changed.name, (first,))).encoded == len(changed.files) - 2


def test_a_failure_that_may_pass_is_tried_again(labeled, tmp_path):
    """Then the chunk is complete; while it fails again, no other file is written."""
    (chunk,), _, worker = planned(labeled, tmp_path)
    source = tmp_path / "images"
    source.mkdir()
    file = chunk.files[0]
    lacking = Chunk("a" * 32, str(source), (file._replace(path="gone.png"), *chunk.files[1:3]))
    for listed in lacking.files[1:]:
        (source / listed.path).parent.mkdir(exist_ok=True)
        (source / listed.path).write_bytes((labeled.root / listed.path).read_bytes())
    worker.folder.put_listing(lacking)
    first = worker(ChunkTask(lacking.name))
    assert (first.chunk, first.encoded, first.failed) == (StoredChunk(lacking.name, 1), 2, 1)
    again = worker(ChunkTask(lacking.name))
    assert (again.chunk, again.encoded) == (first.chunk, 0)
    (source / "gone.png").write_bytes((labeled.root / file.path).read_bytes())
    last = worker(ChunkTask(lacking.name))
    assert (last.chunk, last.encoded, last.failed) == (StoredChunk(lacking.name), 1, 0)
    assert worker.folder.stored() == {lacking.name: last.chunk}


def test_a_name_that_is_no_text_is_refused_with_the_reason(labeled, tmp_path):
    """All other files of the chunk are there."""
    (chunk,), _, worker = planned(labeled, tmp_path)
    odd = Chunk("b" * 32, chunk.source, (ListedFile("stripes/\udcff.png", "stripes", 1, 2, 3), *chunk.files[:2]))
    worker.folder.put_listing(odd)
    outcome = worker(ChunkTask(odd.name))
    row = rows_of(tmp_path, outcome.chunk)[0]
    assert (row.file.path, row.kind, outcome.failed) == ("stripes/\\udcff.png", "no_text", 1)
    assert "rename" in row.reason


class EndingBuilder:
    """Makes workers whose encoder ends them."""

    def __init__(self, builder, size):
        self.builder, self.size = builder, size

    def __call__(self):
        worker = self.builder()
        worker.encoders = [EndingEncoder(encoder, self.size) for encoder in worker.encoders]
        return worker


@pytest.mark.long
def test_an_image_that_ends_its_worker_is_found_and_refused(labeled, tmp_path):
    """It alone: its chunk is split, and all other images are there, in each chunk."""
    from PIL import Image

    poisoned = make_labeled(tmp_path / "labeled")
    Image.new("RGB", (33, 17)).save(poisoned.root / "stripes/ends.png")
    chunks, builder, worker = planned(poisoned, tmp_path / "chunks", most=24)
    outcomes = list(Processes(2).run([ChunkTask(chunk.name) for chunk in chunks], EndingBuilder(builder, (33, 17))))
    assert {outcome.chunk.name for outcome in outcomes} == {chunk.name for chunk in chunks}
    rows = [row for outcome in outcomes for row in rows_of(tmp_path / "chunks", outcome.chunk)]
    assert sorted(row.file.path for row in rows) == sorted(file.path for chunk in chunks for file in chunk.files)
    assert [(row.file.path, row.is_final) for row in rows if row.kind == KILLED] == [("stripes/ends.png", True)]
    assert sum(not row.is_good for row in rows) == 3
    assert worker.folder.stored().keys() == {chunk.name for chunk in chunks}
