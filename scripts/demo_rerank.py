"""Shows the reranker at work: a tiny trained Qwen2-VL chooses among drawn shapes that retrieval confuses.

The weights (1.2 MB, `tests/fixtures/tiny_qwen2_vl`) have the real architecture and run through transformers. They know
eight drawn shapes and nothing else. Leave-one-out on the dataset decides which images they are asked about.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lmm_classifier import (
    CalibrationRequest,
    HybridClassifier,
    LabeledResult,
    PipelineConfig,
    build_index_from_directory,
    calibrate_index,
    write_contact_sheet,
)
from lmm_classifier.data.synthetic.shapes import SHAPES, draw_shape
from lmm_classifier.evaluation.reports.cost_page import write_cost_page
from lmm_classifier.rerank.summary import summary

CHECKPOINT = Path(__file__).parents[1] / "tests/fixtures/tiny_qwen2_vl"
# the prompt that the weights were trained on: a model this small needs the options before the image
PROMPT = "Which of these does the image show?\n{options}\n{image}\nAnswer with the letter of one option."
EXAMPLES, NEW = 7, 25  # images per shape
MAX_CALLS = 400


def configure(folder: Path) -> PipelineConfig:
    """Return the configuration: the weight-free descriptor for retrieval, the tiny Qwen2-VL for reranking."""
    config = PipelineConfig(encoder={"backend": "descriptor"}, allow_unknown=False)
    config.retrieval.index_path = folder / "index"
    rerank = config.rerank
    rerank.model_name, rerank.prompt_template = str(CHECKPOINT), PROMPT
    rerank.model.dtype, rerank.model.batch_size, rerank.model.allow_download = "float32", 16, False
    rerank.prompt.min_visual_tokens = rerank.prompt.max_visual_tokens = 4
    return config


def draw_images(root: Path, count: int, seed: int) -> list[Path]:
    """Draw `count` images per shape to `root/<shape>`, and return their paths."""
    paths = []
    for number, label in enumerate(SHAPES):
        rng = np.random.default_rng((seed, number))
        (root / label).mkdir(parents=True)
        for image in range(count):
            paths.append(root / label / f"{image:03}.png")
            draw_shape(label, rng).save(paths[-1])
    return paths


def classify(config: PipelineConfig, paths: Sequence[Path]) -> list[LabeledResult]:
    """Classify images whose folder's name is the truth."""
    results = HybridClassifier(config).classify_paths(paths)
    return [LabeledResult(path, result, path.parent.name) for path, result in zip(paths, results)]


def compare(before: Sequence[LabeledResult], after: Sequence[LabeledResult]) -> list[tuple[str, str]]:
    """Return names and values of what reranking changed on new images."""
    pairs = [(one.result.label == one.truth, two.result.label == two.truth) for one, two in zip(before, after)]
    asked = sum(entry.result.used_reranker for entry in after)
    count = len(pairs)
    return [
        ("new images", str(count)),
        (
            "correct by retrieval alone",
            f"{sum(old for old, _ in pairs)} ({100 * sum(o for o, _ in pairs) / count:.1f}%)",
        ),
        ("correct with reranking", f"{sum(new for _, new in pairs)} ({100 * sum(n for _, n in pairs) / count:.1f}%)"),
        ("asked", f"{asked} ({1000 * asked / count:.0f} per 1000)"),
        ("corrected", str(sum(new and not old for old, new in pairs))),
        ("newly wrong", str(sum(old and not new for old, new in pairs))),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, build, calibrate, classify twice, print the figures, and write two pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo-rerank"), help="folder for images, index and pages")
    output: Path = parser.parse_args(arguments).output
    for part in ("dataset", "new", "index"):
        shutil.rmtree(output / part, ignore_errors=True)
    draw_images(output / "dataset", EXAMPLES, seed=11)
    new = draw_images(output / "new", NEW, seed=22)
    config = configure(output)
    build_index_from_directory(output / "dataset", config.retrieval.index_path, config=config)
    report = calibrate_index(config.retrieval.index_path, config, CalibrationRequest(max_calls=MAX_CALLS))
    benefit = report.calibration.reranker_benefit
    if benefit is None:
        raise RuntimeError("the calibration holds no measurement of the reranker")
    print("measured by leave-one-out on the dataset:", *summary(benefit), sep="\n  ")
    after = classify(config, new)
    config.rerank.enabled = False
    figures = compare(classify(config, new), after)
    print("on new images:", *(f"{name}: {value}" for name, value in figures), sep="\n  ")
    write_contact_sheet(
        output / "index.html", "Shapes, reranked by a tiny Qwen2-VL", figures, after, output / "dataset"
    )
    write_cost_page(output / "reranking.html", report.calibration)
    print(
        f"{output / 'index.html'}: every image with its result",
        f"{output / 'reranking.html'}: accuracy by calls",
        sep="\n",
    )


if __name__ == "__main__":
    main()
