"""A dataset with bad files and doubles, an encoder for it, and what a table and a local index of it hold."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.formats import read_index
from tests.helpers.datasets import draw_dataset
from tests.helpers.tiny_onnx import write_tiny_onnx

BAD = ("stripes/cut.png", "gingham/text.jpg", "gingham/format.psd")


@dataclass(frozen=True)
class LabeledImages:
    """A folder of labeled images, and the configuration that encodes them."""

    root: Path
    config: PipelineConfig

    @property
    def images(self):
        """The number of files that should be images."""
        return sum(path.suffix in (".png", ".jpg") for path in self.root.rglob("*"))


def make_labeled(folder: Path, count: int = 8, size: int = 40) -> LabeledImages:
    """Draw images of four labels, with two broken ones, a double, one image under two labels, and other files."""
    folder.mkdir(parents=True, exist_ok=True)
    root = draw_dataset(folder / "images", count=count, size=size)
    (root / "stripes/cut.png").write_bytes((root / "stripes/00.png").read_bytes()[:200])
    (root / "gingham/text.jpg").write_bytes(b"no image")
    (root / "gingham/format.psd").write_bytes(b"8BPS")
    (root / "gingham/notes.txt").write_text("notes")
    (root / "loose.png").write_bytes((root / "stripes/00.png").read_bytes())
    shutil.copyfile(root / "stripes/01.png", root / "stripes/double.png")
    shutil.copyfile(root / "stripes/02.png", root / "gingham/other_label.png")
    model = write_tiny_onnx(folder)
    config = PipelineConfig()
    for setting in ("encoder.backend=onnx", f"encoder.model={model}", "rerank.enabled=false"):
        config.set(setting)
    return LabeledImages(root, config)


def rows_of_table(url):
    """Return path -> label, SHA-256, bytes of the vector, of each good file that the finished table has."""
    from lmm_classifier.index.backends.lance_table.finishing import finished

    dataset, about = finished(str(url))
    rows = {}
    for row in dataset.to_table().to_pylist():
        for path in row["paths"]:
            vector = np.array(row["vector"], np.float32).tobytes()
            rows[path] = about.label_names[row["label"]], row["content"].hex(), vector
    return rows


def rows_of_index(path):
    """Return the same of a local index."""
    contents = read_index(Path(path))
    vectors = np.concatenate(list(contents.vectors[0].blocks()))
    return {
        path: (label, content, vector.astype(np.float32).tobytes())
        for path, label, content, vector in zip(contents.paths, contents.labels, contents.hashes, vectors, strict=True)
    }
