"""Folders of labeled images, drawn for tests."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.data.synthetic.catalog import draw

LABELS = ("polka_dots", "stripes", "gingham", "herringbone")


def draw_dataset(root: Path, labels: Sequence[str] = LABELS, count: int = 6, seed: int = 0, size: int = 96) -> Path:
    """Draw `count` images per label as `root/<label>/NN.png`, and return the root."""
    for number, label in enumerate(labels):
        (root / label).mkdir(parents=True, exist_ok=True)
        for position, data in enumerate(_drawn(label, (seed, number), count, size)):
            (root / label / f"{position:02}.png").write_bytes(data)
    return root


@functools.cache
def _drawn(label: str, seed: tuple[int, int], count: int, size: int) -> list[bytes]:
    """Return PNG files of a label; most tests draw the same few."""
    rng = np.random.default_rng(seed)
    files = [io.BytesIO() for _ in range(count)]
    for file in files:
        draw(label, rng, size).save(file, "PNG")
    return [file.getvalue() for file in files]


def offline_config(index_path: Path, **settings: object) -> PipelineConfig:
    """Return the offline configuration on this index, with settings such as `retrieval__k=3`."""
    config = PipelineConfig.offline()
    config.retrieval.index_path = index_path
    for key, value in settings.items():
        config.set(f"{key.replace('__', '.')}={value}")
    return config
