"""Drawn datasets, the trained tiny Qwen2-VL, and what retrieval, the model and the gate choose for new images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.datatypes import Candidate, Classification, RerankRequest, RerankResult
from lmm_classifier.data.synthetic.catalog import KNOWN
from lmm_classifier.data.synthetic.catalog import draw as draw_pattern
from lmm_classifier.data.synthetic.shapes import SHAPES, draw_shape
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.rerank.fusion import Fusion
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions
from lmm_classifier.rerank.vlm import VlmOptions
from tests.fixtures import TRAINED_TEMPLATE
from tests.fixtures.make_tiny_qwen2_vl import FOLDER

NAMES = PromptOptions(prompt_template=TRAINED_TEMPLATE)
OPTIONS = VlmOptions(str(FOLDER), dtype="float32", batch_size=16)
BUDGET = VisualTokenBudget(4, 4, 64)
SEEDS = range(5)
FABRICS = KNOWN[:8]
EXAMPLES, NEW = 8, 40  # images per class

LabeledImage = tuple[str, Image.Image]


@dataclass
class Task:
    """A drawn dataset with its index, and new images with their labels."""

    config: PipelineConfig
    images: list[LabeledImage]


@dataclass
class Outcome:
    """One new image: the candidates of retrieval, the answer of the model about them, and the result of the gate."""

    truth: str
    labels: tuple[str, ...]
    probabilities: Float64Array
    answer: RerankResult
    result: Classification

    @property
    def retrieval_correct(self) -> bool:
        """Return whether retrieval's best label is the true one."""
        return self.labels[0] == self.truth

    @property
    def model_correct(self) -> bool:
        """Return whether the model's own choice is the true label (retrieval's where it failed)."""
        return self.labels[int(np.argmax(self.answer.scores or self.probabilities))] == self.truth

    def fused_correct(self, fusion: Fusion) -> bool:
        """Return whether the fused choice is the true label."""
        probabilities = fusion(self.probabilities, self.answer) if self.answer.scores else self.probabilities
        return self.labels[int(np.argmax(probabilities))] == self.truth


def draw_images(classes: Sequence[str], count: int, seed: int) -> list[LabeledImage]:
    """Draw `count` images of each class, the classes in turn."""
    rng = np.random.default_rng(seed)
    draw_class: dict[str, Any] = {**dict.fromkeys(SHAPES, draw_shape), **dict.fromkeys(FABRICS, draw_pattern)}
    return [(label, draw_class[label](label, rng, 56)) for _ in range(count) for label in classes]


def make_task(root: Path, classes: Sequence[str], seed: int) -> Task:
    """Draw a dataset, build its index, and measure reranking on it."""
    for number, (label, image) in enumerate(draw_images(classes, EXAMPLES, 100 + seed)):
        (root / "dataset" / label).mkdir(parents=True, exist_ok=True)
        image.save(root / "dataset" / label / f"{number:04}.png")
    config = PipelineConfig(encoder={"backend": "descriptor"}, allow_unknown=False)  # type: ignore[arg-type]
    config.retrieval.index_path = root / "index.npz"
    rerank = config.rerank
    rerank.model_name, rerank.model.dtype, rerank.model.batch_size = str(FOLDER), "float32", 16
    rerank.prompt.min_visual_tokens, rerank.prompt.max_visual_tokens = 4, 4
    rerank.prompt_template = TRAINED_TEMPLATE
    build_index_from_directory(root / "dataset", root / "index.npz", config=config)
    calibrate_index(root / "index.npz", config, CalibrationRequest(max_calls=400))
    return Task(config, draw_images(classes, NEW, 900 + seed))


def classify(task: Task) -> tuple[list[Outcome], Fusion]:
    """Classify by the measured gate, and ask the model about every image in addition."""
    classifier = HybridClassifier(task.config)
    results = classifier.classify_many([image for _, image in task.images])
    reranker, benefit = classifier.reranker, classifier.reranker_benefit
    assert reranker is not None
    assert benefit is not None
    candidates = [
        tuple(sorted(result.candidates, key=lambda candidate: -candidate.score)[: benefit.candidates])
        for result in results
    ]
    requests = [RerankRequest(image, offered) for (_, image), offered in zip(task.images, candidates)]
    outcomes = [
        Outcome(
            truth,
            tuple(candidate.label for candidate in offered),
            np.array([candidate.score for candidate in offered]),
            answer,
            result,
        )
        for (truth, _), offered, answer, result in zip(task.images, candidates, reranker.rerank(requests), results)
    ]
    return outcomes, benefit.fusion


def make_requests(images: Sequence[LabeledImage], count: int, references: bool) -> list[RerankRequest]:
    """Return a request with `count` options per image, and a reference image for each option if asked for."""
    requests = []
    for number, (_, image) in enumerate(images):
        labels = [SHAPES[(number + step) % 8] for step in range(count)]
        shown = tuple((dict(reversed(images))[label],) for label in labels) if references else ()
        candidates = tuple(Candidate(label, 1 / count, ()) for label in labels)
        requests.append(RerankRequest(image, candidates, references=shown))
    return requests
