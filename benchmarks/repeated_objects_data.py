"""Eight views of each photograph and of each drawn pattern, encoded once.

Each view is a random crop of 60 to 90 %, turned by up to 15 degrees, brighter or darker, and mirrored half of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks.quality_data import LabeledVectors, Strings
from lmm_classifier.core.arrays import BoolArray, Float32Array, IntArray
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.opening import open_encoder

VIEWS = 8
PATTERNS = 40  # drawn of each label
SIDE = 512  # pixels of the long side of a photograph


@dataclass(frozen=True)
class ObjectViews:
    """Encoder vectors of all views (N, d), the label of each (N,), and the object that it shows (N,)."""

    vectors: Float32Array
    labels: Strings
    objects: IntArray

    def of(self, objects: IntArray, views: IntArray) -> tuple[LabeledVectors, IntArray]:
        """Return the first `views` (m,) views of each of the objects (m,), and the objects that they show."""
        wanted = np.zeros(int(self.objects.max()) + 1, np.int64)
        wanted[objects] = views
        rows = np.flatnonzero(np.arange(len(self.objects)) % VIEWS < wanted[self.objects])
        return LabeledVectors(self.vectors[rows], self.labels[rows]), self.objects[rows]

    def one_of_each(self, objects: IntArray, rng: np.random.Generator) -> LabeledVectors:
        """Return one view of each of the objects."""
        rows = objects * VIEWS + rng.integers(0, VIEWS, len(objects))
        return LabeledVectors(self.vectors[rows], self.labels[rows])

    def drawn(self, per_label: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Draw `per_label` objects of each label; return them and the others, these in random order."""
        label_of = self.labels[::VIEWS]
        inside: BoolArray = np.zeros(len(label_of), bool)
        for label in np.unique(label_of):
            inside[rng.permutation(np.flatnonzero(label_of == label))[:per_label]] = True
        return np.flatnonzero(inside), rng.permutation(np.flatnonzero(~inside))


def encoded(name: str, source: Path | None, encoder: str, most: int, cache: Path) -> ObjectViews:
    """Encode the views of at most `most` objects per label; of the drawn patterns where there is no source.

    What the cache has is not encoded again.
    """
    file = cache / f"{name}-{encoder}-{most}.npz"
    if not file.exists():
        opened = open_encoder(EncoderConfig(backend=encoder, threads=1))
        vectors, labels, objects = list[Float32Array](), list[str](), list[int]()
        images = _patterns() if source is None else _photographs(source, most)
        for number, (label, image, rng) in enumerate(images):
            vectors.append(encode_images(opened, [_view(image, rng) for _ in range(VIEWS)]))
            labels += [label] * VIEWS
            objects += [number] * VIEWS
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(file, v=np.concatenate(vectors), l=np.array(labels), o=np.array(objects))
    with np.load(file) as arrays:
        return ObjectViews(arrays["v"], arrays["l"], arrays["o"])


def _patterns() -> Iterator[tuple[str, Image.Image, np.random.Generator]]:
    for number, label in enumerate(KNOWN):
        for pattern in range(PATTERNS):
            rng = np.random.default_rng((7, number, pattern))
            yield label, draw(label, rng, 256), rng


def _photographs(source: Path, most: int) -> Iterator[tuple[str, Image.Image, np.random.Generator]]:
    for number, folder in enumerate(sorted(path for path in source.iterdir() if path.is_dir())):
        for photograph, file in enumerate(sorted(folder.glob("*.jpg"))[:most]):
            with Image.open(file) as opened:
                opened.draft("RGB", (SIDE, SIDE))
                image = opened.convert("RGB")
            image.thumbnail((SIDE, SIDE))
            yield folder.name, image, np.random.default_rng((3, number, photograph))


def _view(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    (width, height), part = image.size, rng.uniform(0.6, 0.9)
    left, top = rng.uniform(0, 1 - part) * width, rng.uniform(0, 1 - part) * height
    turned = image.rotate(rng.uniform(-15, 15), resample=Image.Resampling.BICUBIC)
    view = turned.crop((int(left), int(top), int(left + part * width), int(top + part * height)))
    view = ImageEnhance.Brightness(view).enhance(rng.uniform(0.7, 1.3))
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else view
