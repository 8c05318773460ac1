"""Draws the images of the demo: a dataset, new images of its labels, and unknown ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.own_files import OUTPUT_MARK
from lmm_classifier.data.synthetic.catalog import KNOWN, UNKNOWN, draw

_EXAMPLES = 12  # images per label in the dataset
_NEW = 8  # new images per label, and images per unknown class
_DRAWN, _FILED = "houndstooth", "polka_dots"  # one image is drawn as the first and filed under the second
_PLANTED = "planted"
_MARK = ".lmm-classifier-demo"  # marks a folder that the demo may empty


def draw_demo_data(output: Path, seed: int) -> tuple[Path, Path]:
    """Empty `output`, draw the dataset and the new images there, and return both folders.

    Raises:
        DatasetError: if `output` holds files that are not of a former demo. They are never removed.
    """
    _empty(output)
    dataset, new = output / "dataset", output / "new"
    _draw(dataset, KNOWN, _EXAMPLES, seed)
    planted = draw(_DRAWN, np.random.default_rng((seed, len(KNOWN))))
    planted.save(dataset / _FILED / f"{_PLANTED}.jpg", quality=90)  # for the audit to find
    _draw(new, (*KNOWN, *UNKNOWN), _NEW, seed + 1)
    return dataset, new


def is_planted(path: str) -> bool:
    """Return whether this example is the one that was filed under a wrong label."""
    return Path(path).stem == _PLANTED


def _empty(output: Path) -> None:
    if output.exists() and not (output / _MARK).exists() and (not output.is_dir() or any(output.iterdir())):
        raise DatasetError(f"{output} exists and is not the folder of a former demo. Choose another folder.")
    for folder in ("dataset", "new", "index"):
        shutil.rmtree(output / folder, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    (output / _MARK).touch()
    (output / OUTPUT_MARK).touch()


def _draw(root: Path, labels: Sequence[str], count: int, seed: int) -> None:
    for number, label in enumerate(labels):
        folder = root / label
        folder.mkdir(parents=True)
        rng = np.random.default_rng((seed, number))
        for image in range(count):
            draw(label, rng).save(folder / f"{image:02}.jpg", quality=90)
