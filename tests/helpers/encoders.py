"""Small encoders for tests of several encoders in one index; they record what they are asked for."""

import threading

import numpy as np
from PIL import Image

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.embeddings.whitening import IdentityFitter


class RecordingEncoder:
    """Normalized features of an image, and how many images were preprocessed and encoded."""

    transform_fitter = IdentityFitter()
    image_size, batch_size = 16, 4

    def __init__(self, refused=()):
        self.preprocessed, self.encoded = 0, 0
        self.refused = set(refused)  # sizes of images, (width, height), that have no vector
        self._lock = threading.Lock()

    def preprocess(self, image):
        with self._lock:
            self.preprocessed += 1
        return self.features(image), image.size

    def encode(self, preprocessed):
        if any(size in self.refused for _, size in preprocessed):
            raise EncoderError(f"{self.fingerprint.name} refuses this image")
        self.encoded += len(preprocessed)
        rows = np.array([features for features, _ in preprocessed]).reshape(-1, self.fingerprint.dim)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class ColorEncoder(RecordingEncoder):
    """Which colors an image has: the square roots of their frequencies in 4 x 4 x 4 boxes."""

    fingerprint = Fingerprint("color", "boxes", "1", "RGB", 64, "float32")

    def features(self, image):
        boxes = np.asarray(image).reshape(-1, 3).astype(int) // 64 @ (16, 4, 1)
        return np.sqrt(np.bincount(boxes, minlength=64))


class LayoutEncoder(RecordingEncoder):
    """Where an image is bright: a thumbnail of 6 x 6 pixels."""

    fingerprint = Fingerprint("layout", "thumbnail", "1", "gray", 36, "float32")

    def features(self, image):
        thumbnail = image.convert("L").resize((6, 6), Image.Resampling.BOX)
        return np.asarray(thumbnail, float).ravel() + 1


class NoiseEncoder(RecordingEncoder):
    """Nothing about an image: a random vector of its pixels."""

    fingerprint = Fingerprint("noise", "digest", "1", "RGB", 8, "float32")

    def features(self, image):
        return np.random.default_rng(np.frombuffer(image.tobytes(), np.uint8)).normal(size=8)


SIDES = ("blue_left", "blue_right", "green", "red")


def draw_color(file, color, seed):
    """Draw a noisy image of a color, such as one that no label of `draw_sides` has."""
    pixels = np.random.default_rng(seed).integers(0, 70, (16, 16, 3)) + np.array(color)
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")


def draw_sides(root, count=10, seed=0):
    """Draw images as `root/<label>/NN.png` whose labels `ColorEncoder` tells apart, but for two of one color.

    `LayoutEncoder` tells these two apart, which differ by the bright side, and no others. Return the root.
    """
    for number, label in enumerate(SIDES):
        (root / label).mkdir(parents=True, exist_ok=True)
        for position in range(count):
            rng = np.random.default_rng((seed, number, position))
            pixels = rng.integers(0, 70, (16, 16, 3))
            pixels[..., ("red", "green", "blue").index(label.partition("_")[0])] += 110
            is_left = label.endswith("left") or (not label.endswith("right") and rng.random() < 0.5)
            pixels[:, :8] += 50 if is_left else 0
            pixels[:, 8:] += 0 if is_left else 50
            Image.fromarray(pixels.astype(np.uint8)).save(root / label / f"{position:02}.png")
    return root
