"""Folders of labeled images, drawn for tests."""

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
        rng = np.random.default_rng((seed, number))
        for position in range(count):
            draw(label, rng, size).save(root / label / f"{position:02}.png")
    return root


def offline_config(index_path: Path, **settings: object) -> PipelineConfig:
    """Return the offline configuration on this index, with settings such as `retrieval__k=3`."""
    config = PipelineConfig.offline()
    config.retrieval.index_path = index_path
    for key, value in settings.items():
        config.set(f"{key.replace('__', '.')}={value}")
    return config
