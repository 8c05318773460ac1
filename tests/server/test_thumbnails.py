"""The images that were used last are kept, up to a number of bytes."""

import asyncio

import pytest

pytest.importorskip("fastapi", reason="the extra `server` is not installed")

from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.index.formats import read_index
from lmm_classifier.server.results import ExampleIds
from lmm_classifier.server.thumbnails import ThumbnailCache


@pytest.mark.parametrize("max_bytes", [0, 1500, 10**9])
def test_memory_is_bounded(made_index, max_bytes):
    """Whatever is asked for, in any order."""
    ids = ExampleIds(read_index(made_index / "index"))
    hashes = list(ids.contents.hashes)[:6]
    cache = ThumbnailCache(max_bytes, ImageLimits())

    async def ask():
        data = {}
        for content_hash in [*hashes, *hashes[::-1], hashes[0]]:
            made = await cache.get(ids, content_hash, 64)
            assert data.setdefault(content_hash, made) == made
            assert sum(map(len, cache._kept.values())) == cache._bytes <= max_bytes

    try:
        asyncio.run(ask())
        assert len(cache._kept) == {0: 0, 10**9: 6}.get(max_bytes, len(cache._kept))
    finally:
        cache.close()
