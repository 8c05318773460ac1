"""New images are encoded by all encoders; unreadable ones are counted."""

import numpy as np
import pytest

from lmm_classifier.pipeline.adapting import new_images
from lmm_classifier.pipeline.adapting.new_images import NewImages


@pytest.mark.long
def test_all_encoders_see_the_same_images(fused, drawn, tmp_path):
    """In the same order, whatever the batch size."""
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = [*sorted((drawn / "new").rglob("*.png")), tmp_path / "broken.png", tmp_path / "missing.png"]
    images = NewImages.encode(files, lambda: fused.encoders, fused.config)
    assert (len(images), images.given, images.unreadable) == (48, 50, 2)
    assert [vectors.shape for vectors in images.vectors] == [(48, 64), (48, 36)]
    first = fused.encoders[1]
    (alone,) = NewImages.encode(files[5:6], lambda: (first,), fused.config).vectors
    assert np.array_equal(images.vectors[1][5], alone[0])


@pytest.mark.long
def test_many_images_are_sampled(fused, drawn, monkeypatch):
    """At even distances, the first and the last among them."""
    monkeypatch.setattr(new_images, "MOST", 5)
    files = sorted((drawn / "new").rglob("*.png"))
    images = NewImages.encode(files, lambda: fused.encoders, fused.config)
    assert (len(images), images.given) == (5, 48)
    (last,) = NewImages.encode(files[-1:], lambda: (fused.encoders[0],), fused.config).vectors
    assert np.array_equal(images.vectors[0][-1], last[0])


def test_no_image_at_all(fused):
    """The arrays keep their width."""
    images = NewImages.encode([], lambda: fused.encoders, fused.config)
    assert [vectors.shape for vectors in images.vectors] == [(0, 64), (0, 36)]
