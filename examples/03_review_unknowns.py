"""Review unknown images: collect them, teach a new label from two of them, and classify the rest again.

Run it with `python examples/03_review_unknowns.py`. It draws its own images and needs no model.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from lmm_classifier import Classification, HybridClassifier, PipelineConfig, build_index_from_directory
from lmm_classifier.data.synthetic import draw

LABELS = ("argyle", "checkerboard", "gingham", "herringbone", "polka_dots", "stripes")
NEW_LABEL = "leopard"  # not in the dataset at first


def draw_images(folder: Path) -> None:
    """Draw a labeled folder `photos/<label>/NN.png`, and new images of a known and of an unknown label in `new/`."""
    for number, label in enumerate(LABELS):
        (folder / "photos" / label).mkdir(parents=True)
        rng = np.random.default_rng(number)
        for position in range(15):
            draw(label, rng).save(folder / "photos" / label / f"{position:02}.png")
    (folder / "new").mkdir()
    rng = np.random.default_rng(100)
    for position in range(8):
        draw(NEW_LABEL, rng).save(folder / "new" / f"{position}_{NEW_LABEL}.png")
        draw("gingham", rng).save(folder / "new" / f"{position}_gingham.png")


def classify(classifier: HybridClassifier, paths: list[Path]) -> list[Classification]:
    """Classify files and print how often each label was given."""
    results = list(classifier.classify_paths(paths))
    counts = Counter(result.label for result in results)
    print(", ".join(f"{label}: {count}" for label, count in sorted(counts.items())))
    return results


def main() -> None:
    """Find unknown images, teach a label, classify again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_images(folder)
        config = PipelineConfig.offline()
        config.retrieval.index_path = folder / "index"
        build_index_from_directory(folder / "photos", config.retrieval.index_path, config=config)
        classifier = HybridClassifier(config)

        print("before: ", end="")
        results = classify(classifier, sorted((folder / "new").glob("*.png")))
        unknown = sorted(
            (result for result in results if result.is_unknown), key=lambda result: result.familiarity or 0
        )
        for result in unknown[:3]:
            print(f"  {Path(str(result.path)).name}: {result.why}")

        # a person reviews them, the least familiar first; here the file name tells the truth
        to_teach = [Path(str(result.path)) for result in unknown if NEW_LABEL in str(result.path)][:4]
        report = classifier.editor().add(to_teach, NEW_LABEL)
        print(f"taught {len(report.changes.added)} images of {NEW_LABEL}; the index has {report.images}")

        print("after: ", end="")
        classify(classifier, [path for path in sorted((folder / "new").glob("*.png")) if path not in to_teach])


if __name__ == "__main__":
    main()
