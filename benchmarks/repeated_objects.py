"""Alarms of `RepeatedObjects` on independent photographs, and on datasets with several views of the same photograph.

Each view is a random crop of 60 to 90 %, turned by up to 15 degrees, brighter or darker, and mirrored half of the time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks.accuracy import mobilenet
from benchmarks.rows import Row, where, write_rows
from lmm_classifier.calibration.fit import fit_by_groups, fit_by_leave_one_out
from lmm_classifier.calibration.grouping import group_ids
from lmm_classifier.calibration.repeated_objects import RepeatedObjects
from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery

COMMAND = "python -m benchmarks.repeated_objects --data DATA --models MODELS"
VIEWS = {2: 25, 3: 20, 5: 12, 10: 8, 20: 6}  # views of an object -> objects per label
PER_LABEL, DRAWS = (10, 25, 50, 100), 20  # random parts of the independent photographs


def independent(index: Index, rng: np.random.Generator) -> Iterator[RepeatedObjects]:
    """Measure the whole index, and random parts of it with few images per label."""
    gallery = index.gallery
    yield RepeatedObjects.of(gallery)
    for most in PER_LABEL:
        for _ in range(DRAWS):
            rows = np.concatenate([rng.permutation(members)[:most] for members in gallery.rows_of_label])
            yield RepeatedObjects.of(Gallery(gallery.embeddings[rows], gallery.label_ids[rows], gallery.labels))


def draw_views(source: Path, output: Path, views: int, rng: np.random.Generator) -> Path:
    """Write `views` views of some photographs of each label as `label/number_view.jpg`."""
    for label in sorted(path for path in source.iterdir() if path.is_dir()):
        (output / label.name).mkdir(parents=True)
        for number, file in enumerate(rng.permutation(sorted(label.glob("*.jpg")))[: VIEWS[views]]):
            with Image.open(file) as image:
                photograph = image.convert("RGB")
            for view in range(views):
                _view(photograph, rng).save(output / label.name / f"{number:03}_{view}.jpg", quality=88)
    return output


def _view(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    (width, height), part = image.size, rng.uniform(0.6, 0.9)
    left, top = rng.uniform(0, 1 - part) * width, rng.uniform(0, 1 - part) * height
    turned = image.rotate(rng.uniform(-15, 15), resample=Image.Resampling.BICUBIC)
    view = turned.crop((int(left), int(top), int(left + part * width), int(top + part * height)))
    view = ImageEnhance.Brightness(view).enhance(rng.uniform(0.7, 1.3))
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else view


def measure(data: Path, models: Path) -> Iterator[Row]:
    """Yield the rows of every dataset and encoder."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        encoders = {"descriptor": PipelineConfig.offline(), "MobileNetV2": mobilenet(models, work)}
        for name, source in (("trashnet", data / "trashnet"), ("clothing", data / "clothing" / "train")):
            planted = {views: draw_views(source, work / name / str(views), views, rng) for views in VIEWS}
            for encoder, config in encoders.items():
                whole = _index(source, work / f"{name}-{encoder}", config)
                alone = list(independent(whole, rng))
                yield _alarms(f"repeated objects: false alarms, {name}, {encoder}", alone, 0, "independent photographs")
                for views, root in planted.items():
                    index = _index(root, work / f"{name}-{views}-{encoder}", config)
                    yield _row(f"repeated objects: {views} views each, {name}, {encoder}", index)


def _index(root: Path, output: Path, config: PipelineConfig) -> Index:
    build_index_from_directory(root, output, config=config)
    return Index.open(output)


def _alarms(name: str, found: list[RepeatedObjects], goal: int, data: str) -> Row:
    alarms = sum(repeated.likely for repeated in found)
    lowest = f"lowest ratio {found[0].lowest:.3f} of all, {min(repeated.lowest for repeated in found):.3f} of a part"
    against = (
        f"{data}: all, and {len(found) - 1} random parts of {min(PER_LABEL)} to {max(PER_LABEL)} per label; {lowest}"
    )
    return Row(name, alarms, f"of {len(found)}", goal, "lower", against, where("onnxruntime"), COMMAND)


def _row(name: str, index: Index) -> Row:
    """Say whether there is an alarm, and how optimistic leave-one-out is."""
    repeated, config = RepeatedObjects.of(index.gallery), RetrievalConfig()
    groups = group_ids([example.path for example in index.examples], r"/(\d+)_")
    alone = 100 * fit_by_leave_one_out(config, [index])[1].correct.mean()
    together = 100 * fit_by_groups(config, [index], groups)[1].correct.mean()
    against = (
        f"ratios {', '.join(f'{ratio:.2f}' for ratio in repeated.ratios.values())}; accuracy by leave-one-out "
        f"{alone:.1f}, held out by object {together:.1f}"
    )
    return Row(name, float(repeated.likely), "alarm", 1, "higher", against, where("onnxruntime"), COMMAND)


def main() -> None:
    """Measure, print and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    arguments = parser.parse_args()
    write_rows("repeated_objects", list(measure(arguments.data, arguments.models)))


if __name__ == "__main__":
    main()
