"""The photographs of the discovery benchmarks as vectors of the encoder `lite`, encoded once and kept in a folder.

They are read from the folder that `DISCOVERY_DATA` names, and kept in that of `DISCOVERY_CACHE`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks.quality_data import LabeledVectors
from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index

FOLDERS = {"clothing": ("clothing/train", "clothing/validation"), "trashnet": ("trashnet",)}
_ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("DISCOVERY_DATA", _ROOT.parent / "shared" / "data"))
CACHE = Path(os.environ.get("DISCOVERY_CACHE", _ROOT / "build" / "discovery"))  # git ignores `build`


def labeled_vectors(name: str) -> LabeledVectors:
    """Return all images of one of `FOLDERS`, of its splits together."""
    parts = []
    for folder in FOLDERS[name]:
        output = CACHE / f"{folder.replace('/', '-')}-lite.npz"
        if not output.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            config = PipelineConfig()
            config.encoder.backend = "lite"
            config.rerank.enabled = False
            build_index_from_directory(DATA / folder, output, config=config)
        index = Index.open(output)
        parts.append((index.vectors(), np.array([example.label for example in index.examples])))
    vectors, labels = zip(*parts)
    return LabeledVectors(np.concatenate(vectors), np.concatenate(labels))
