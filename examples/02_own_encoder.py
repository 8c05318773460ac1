"""Use an encoder of your own: a class with six members, no base class and no registration.

Run it with `python examples/02_own_encoder.py`. It draws its own images and needs no model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier import HybridClassifier, PipelineConfig, build_index_from_directory
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.data.synthetic import draw
from lmm_classifier.embeddings.whitening import IdentityFitter
from lmm_classifier.testing import check_encoder

SIDE = 32  # pixels
LABELS = ("checkerboard", "pinstripe", "polka_dots", "stripes")


class SpectrumEncoder:
    """Embeds an image by the amplitudes of its frequencies, which do not depend on the position of a pattern."""

    fingerprint = Fingerprint(
        backend="spectrum",
        model="amplitudes",
        revision="1",  # change it whenever the embeddings change: an index of other embeddings is then refused
        preprocessing=f"gray, {SIDE} x {SIDE} pixels",
        dim=SIDE * (SIDE // 2 + 1),
        dtype="float32",
    )
    transform_fitter = IdentityFitter()  # embeddings are compared by their cosine, as they are
    image_size = SIDE  # larger images may be decoded at a reduced scale
    batch_size = 32

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the gray pixels (SIDE, SIDE) of an upright RGB image; threads call it in parallel."""
        return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))

    def encode(self, preprocessed: Sequence[Preprocessed]) -> NDArray[np.float32]:
        """Return normalized embeddings (n, dim); each row is computed alone, so no batch can change its bits."""
        rows = np.empty((len(preprocessed), self.fingerprint.dim), np.float32)
        for number, pixels in enumerate(preprocessed):
            rows[number] = self._embed(np.asarray(pixels))
        return rows

    def _embed(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        gray = pixels.astype(np.float64) / 255
        spectrum = np.abs(np.fft.rfft2(gray - gray.mean())).ravel() + 1e-6  # an even image has no direction otherwise
        row = np.log1p(spectrum)
        return np.asarray(row / np.linalg.norm(row), np.float32)


def draw_images(folder: Path) -> None:
    """Draw a labeled folder `photos/<label>/NN.png` and one new image per label in `new/`."""
    (folder / "new").mkdir()
    for number, label in enumerate(LABELS):
        (folder / "photos" / label).mkdir(parents=True)
        rng = np.random.default_rng(number)
        for position in range(20):
            draw(label, rng).save(folder / "photos" / label / f"{position:02}.png")
        draw(label, rng).save(folder / "new" / f"{label}.png")


def main() -> None:
    """Check the encoder, build an index with it, and classify."""
    encoder = SpectrumEncoder()
    check_encoder(encoder)
    print("check_encoder: the encoder follows the protocol")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_images(folder)
        config = PipelineConfig()
        config.retrieval.index_path = folder / "index"
        config.rerank.backend = "views"  # augmented views work with every encoder
        report = build_index_from_directory(
            folder / "photos", config.retrieval.index_path, config=config, encoder=encoder
        )
        print(f"{report.total} images indexed by {', '.join(report.encoders)}")
        classifier = HybridClassifier(config, encoder=encoder)
        for result in classifier.classify_paths(sorted((folder / "new").glob("*.png"))):
            print(f"{Path(str(result.path)).name}: {result.label} {result.score:.2f}, {result.decision.reason}")


if __name__ == "__main__":
    main()
