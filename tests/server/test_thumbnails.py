"""The images that were used last are kept, up to a number of bytes."""

import asyncio
import shutil

import pytest

pytest.importorskip("fastapi", reason="the extra `server` is not installed")

from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import ExampleIds
from lmm_classifier.server.thumbnails import ThumbnailCache
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder


@pytest.mark.parametrize("max_bytes", [0, 1500, 10**9])
def test_memory_is_bounded(made_index, max_bytes):
    """Whatever is asked for, in any order."""
    ids = ExampleIds(read_index(made_index / "index"))
    hashes = list(ids.contents.hashes)[:6]
    cache, kept = ThumbnailCache(max_bytes, ImageLimits()), None

    async def ask():
        nonlocal kept
        data = {}
        for content_hash in [*hashes, *hashes[::-1], hashes[0]]:
            made = await cache.get(ids, content_hash, 64)
            assert data.setdefault(content_hash, made) == made
            kept = cache._kept
            assert sum(map(len, kept._images.values())) == kept._bytes <= max_bytes

    try:
        asyncio.run(ask())
        assert len(kept._images) == {0: 0, 10**9: 6}.get(max_bytes, len(kept._images))
    finally:
        cache.close()


def test_an_example_that_was_removed_again(made_index, place):
    """A page that named it as a neighbor still gets its image, which is in the trash now; nobody else does."""
    index = place / "index"
    image = shutil.copy(next((made_index / "new").rglob("*.png")), place / "new.png")
    editor = IndexEditor(index, offline_config(index), ColorEncoder())
    added = editor.add([image], "red").changes.added
    former = ExampleIds(read_index(index))
    content_hash = former.hash_of(added[0])
    editor.undo()
    cache = ThumbnailCache(10**9, ImageLimits())
    try:
        with pytest.raises(ProblemError, match="No example has this content"):
            asyncio.run(cache.get(ExampleIds(read_index(index)), content_hash, 64))
        assert asyncio.run(cache.get(ExampleIds(read_index(index), former), content_hash, 64))[:2] == b"\xff\xd8"
        # a request that is inside while the undo has moved the image, and the former version is still the newest here
        cache.forget()
        assert asyncio.run(cache.get(former, content_hash, 64))[:2] == b"\xff\xd8"
    finally:
        cache.close()
