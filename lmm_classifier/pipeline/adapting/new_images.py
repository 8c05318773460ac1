"""The vectors of new images by all encoders, for what is fitted to them without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.places import Place
from lmm_classifier.pipeline.stages.encoded_files import encoded_files

MOST = 5000  # images: more say nearly nothing new, and each costs an encoding


@dataclass(frozen=True)
class NewImages:
    """The vectors of images that have no labels."""

    vectors: tuple[Float32Array, ...]  # (m, dim) by each encoder
    given: int  # images that were named
    unreadable: int  # of those that were read

    def __len__(self) -> int:
        return len(self.vectors[0])

    @classmethod
    def encode(
        cls, files: Sequence[Place], encoders: Callable[[], Sequence[Encoder]], config: PipelineConfig
    ) -> NewImages:
        """Encode files by every encoder; of more than 5,000 a sample at even distances. Unreadable ones are left out.

        Raises EncoderError where an encoder refuses every image.
        """
        chosen = files
        if len(files) > MOST:
            chosen = [files[place] for place in np.linspace(0, len(files) - 1, MOST).round().astype(int).tolist()]
        fingerprints = [encoder.fingerprint for encoder in encoders()]
        places, parts, failed = range(len(fingerprints)), list[Sequence[Float32Array]](), 0
        for batch, encoded in encoded_files(chosen, encoders, places, (), config):
            if len(encoded):
                parts.append([encoded.vectors.known[place] for place in places])
            failed += len(batch.failed)
        joined = tuple(
            np.concatenate([np.empty((0, fingerprint.dim), np.float32), *(part[place] for part in parts)])
            for place, fingerprint in enumerate(fingerprints)
        )
        return cls(joined, len(files), failed)
