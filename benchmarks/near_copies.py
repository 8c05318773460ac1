"""Planted copies of photographs that the search for near duplicates finds, and the false pairs that it reports.

Of each set 500 photographs are copied: saved again (JPEG quality 70), resized (3/4), cropped (5 % off each side) or
mirrored, 125 each. A found pair of two originals is false, unless it is among the pairs that a person has seen and
confirmed, in `confirmed_copies.json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.accuracy import mobilenet
from benchmarks.rows import Row, where, write_rows
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import IntArray
from lmm_classifier.data.image_folder import scan_image_folder
from lmm_classifier.evaluation.duplicates import find_duplicates
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.near_duplicates import duplicate_cosine, nearest_pairs
from lmm_classifier.pipeline.index_encoder import encode_readable, open_encoders_of
from lmm_classifier.pipeline.near_copies import is_near_copy

KINDS = ("saved again", "resized", "cropped", "mirrored")
SETS = {"trashnet": "trashnet", "clothing": "clothing/train"}
CONFIRMED = Path(__file__).parent / "confirmed_copies.json"
_COPIES = 500


def copy_of(image: Image.Image, kind: str) -> tuple[Image.Image, int]:
    """Return a copy, and the JPEG quality to save it with."""
    width, height = image.size
    if kind == "resized":
        return image.resize((round(0.75 * width), round(0.75 * height)), Image.Resampling.BICUBIC), 90
    if kind == "cropped":
        x, y = round(0.05 * width), round(0.05 * height)
        return image.crop((x, y, width - x, height - y)), 90
    return (ImageOps.mirror(image), 90) if kind == "mirrored" else (image, 70)


def plant(source: Path, folder: Path, seed: int = 0) -> dict[str, str]:
    """Write copies to `folder/<label>/<kind>-NNN.jpg`; return the original of each by their paths."""
    examples = scan_image_folder(source).examples
    chosen = np.random.default_rng(seed).choice(len(examples), min(_COPIES, len(examples)), replace=False)
    originals = {}
    for number, row in enumerate(chosen.tolist()):
        kind, example = KINDS[number % len(KINDS)], examples[row]
        with Image.open(source / example.path) as image:
            copy, quality = copy_of(image.convert("RGB"), kind)
        path = f"{example.label}/{kind.replace(' ', '-')}-{number:03}.jpg"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        copy.save(folder / path, quality=quality)
        originals[path] = example.path
    return originals


def measure(name: str, source: Path, config: PipelineConfig, work: Path, command: str) -> Iterator[Row]:
    """Yield the rows of one set and one encoder: an audit of originals and copies, and new images that are copies."""
    encoder = "MobileNetV2" if config.encoders[0].backend == "onnx" else config.encoders[0].backend
    place, title = where("onnxruntime"), f"near copies, {name}, {encoder}"
    mixed = work / "mixed"
    mixed.mkdir(parents=True)
    originals = plant(source, work / "copies")
    for label in source.iterdir():
        (mixed / label.name).mkdir(exist_ok=True)
        for file in (*label.iterdir(), *(work / "copies" / label.name).glob("*.jpg")):
            (mixed / label.name / file.name).hardlink_to(file) if file.is_relative_to(work) else _copy(file, mixed)
    index = _index(mixed, work / "mixed.npz", config)
    pairs = {
        frozenset((first, second))
        for group in find_duplicates(index, config.images)
        if not group.exact
        for first in group.paths
        for second in group.paths
        if first < second
    }
    found = {path: frozenset((path, original)) in pairs for path, original in originals.items()}
    yield Row(f"{title}: audit finds", _percent(found), "%", 95.0, "higher", _kinds(found), place, command)
    false = false_pairs(name, pairs, set(originals))
    rate = 1000 * len(false) / (len(index) - len(originals))
    listed = "; ".join(" = ".join(sorted(pair)) for pair in false) or "no pair"
    yield Row(f"{title}: false pairs per 1,000 images", round(rate, 2), "", 1.0, "lower", listed, place, command)
    index = _index(source, work / "originals.npz", config)
    yield from _of_new_images(title, index, work, originals, config, place, command)


def _of_new_images(
    title: str,
    index: Index,
    work: Path,
    originals: dict[str, str],
    config: PipelineConfig,
    place: str,
    command: str,
) -> Iterator[Row]:
    """Yield what an evaluation leaves out of copies, and what the vectors alone would find."""
    paths = sorted(originals)
    (encoder,) = open_encoders_of([index], config, work)
    files = [work / "copies" / path for path in paths]
    (vectors,), _ = encode_readable([encoder], files, config)
    candidates, cosines = nearest_pairs(index.queries(vectors), index.gallery.embeddings, 10)
    left_out = is_near_copy(index, files, candidates, encoder, config.images)
    found = dict(zip(paths, left_out.tolist()))
    yield Row(f"{title}: evaluation leaves out", _percent(found), "%", 95.0, "higher", _kinds(found), place, command)
    limit = duplicate_cosine(*nearest_pairs(index.gallery.embeddings, count=1))
    similar: IntArray = np.unique(candidates[cosines >= limit, 0])
    found = {path: number in set(similar.tolist()) for number, path in enumerate(paths)}
    against = f"no image is read, cosine from {limit:.3f}; {_kinds(found)}"
    yield Row(f"{title}: vectors alone find", _percent(found), "%", None, "higher", against, place, command)


def false_pairs(name: str, pairs: set[frozenset[str]], copies: set[str]) -> list[frozenset[str]]:
    """Return the pairs of two originals that nobody has confirmed."""
    confirmed = {frozenset(pair) for pair in json.loads(CONFIRMED.read_text(encoding="utf-8"))[name]}
    return sorted((pair for pair in pairs if not pair & copies and pair not in confirmed), key=sorted)


def _index(folder: Path, output: Path, config: PipelineConfig) -> Index:
    build_index_from_directory(folder, output, config=config)
    return Index.open(output)


def _copy(file: Path, mixed: Path) -> None:
    (mixed / file.parent.name / file.name).write_bytes(file.read_bytes())


def _percent(found: dict[str, bool]) -> float:
    return round(100 * float(np.mean(list(found.values()))), 1)


def _kinds(found: dict[str, bool]) -> str:
    parts = []
    for kind in KINDS:
        of_kind = [value for path, value in found.items() if kind.replace(" ", "-") in path]
        parts.append(f"{kind} {sum(of_kind)} of {len(of_kind)}")
    return ", ".join(parts)


def main() -> None:
    """Measure both sets with both encoders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/ and models/")
    shared = parser.parse_args().shared
    rows: list[Row] = []
    for name, folder in SETS.items():
        for encoder in ("onnx", "descriptor"):
            with tempfile.TemporaryDirectory() as temporary:
                work = Path(temporary)
                config = mobilenet(shared / "models", work) if encoder == "onnx" else PipelineConfig.offline()
                command = "python -m benchmarks.near_copies --shared SHARED"
                rows += measure(name, shared / "data" / folder, config, work, command)
    write_rows("near_copies", rows)


if __name__ == "__main__":
    main()
