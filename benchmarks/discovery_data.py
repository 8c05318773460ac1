"""The photographs of the discovery benchmarks as vectors of the encoder `lite`, encoded once and kept in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.quality_data import LabeledVectors
from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index

FOLDERS = {"clothing": ("clothing/train", "clothing/validation"), "trashnet": ("trashnet",)}


def labeled_vectors(name: str, data: Path, cache: Path) -> LabeledVectors:
    """Return all images of a dataset, of its splits together.

    Args:
        name: one of `FOLDERS`.
        data: the folder that holds the datasets.
        cache: a folder; an index there is used, else it is built.
    """
    parts = []
    for folder in FOLDERS[name]:
        output = cache / f"{folder.replace('/', '-')}-lite.npz"
        if not output.exists():
            cache.mkdir(parents=True, exist_ok=True)
            config = PipelineConfig()
            config.encoder.backend = "lite"
            config.rerank.enabled = False
            build_index_from_directory(data / folder, output, config=config)
        index = Index.open(output)
        parts.append((index.vectors(), np.array([example.label for example in index.examples])))
    vectors, labels = zip(*parts)
    return LabeledVectors(np.concatenate(vectors), np.concatenate(labels))
