"""The time of scoring and decision, without the matrix products, as a fraction of the encoder's time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.real_shapes import BASE
from benchmarks.rows import Row, where
from benchmarks.side_by_side import Times, in_turns, value_range
from benchmarks.vectors import DIM, NoEncoder, contents_of, normalized, random_vectors
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.flow import Flow, Query
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors

BATCH = 64
_SAMPLE = 512  # examples that the rule is fitted to
_GEMM = 4096


def scoring_rows(command: str, quick: bool) -> list[Row]:
    """Measure everything after the encoder for 64 images at a time, and the part that is not a matrix product."""
    queries = [Query(lambda: Image.new("RGB", (1, 1)))] * BATCH
    encoder_ms, measured = _encoder_ms(), []
    for count, labels in ((20_000, 100),) if quick else ((20_000, 100), (20_000, 1000)):
        flow, vectors = _make_flow(count, labels)
        plain, in_metric = flow.index.gallery.embeddings, flow.retriever.encoders[0].metric_gallery.embeddings
        jobs: dict[str, Callable[[], object]] = {
            "all": partial(flow.classify, QueryVectors.given(vectors), queries),
            "products": partial(_products, vectors, plain, in_metric),
        }
        times = in_turns(jobs, 5 if quick else 9)
        measured += _rows_of(times, count, labels, encoder_ms, command)
    return measured


def _rows_of(times: dict[str, Times], count: int, labels: int, encoder_ms: float, command: str) -> list[Row]:
    against = f"{count:,} x {DIM}, {labels} labels, batch {BATCH}; SigLIP base takes {encoder_ms:.0f} ms per image"
    percentages = [
        100 * 1000 * (whole - products) / BATCH / encoder_ms
        for whole, products in zip(times["all"].seconds, times["products"].seconds)
    ]
    name, goal, place = f"scoring and decision, {labels} labels", 1.0 if labels == 100 else None, where()
    fraction = round(float(np.median(percentages)), 2)
    full_name, spread = f"{name}: fraction of the encoder's time", value_range(percentages)
    measured = [Row(full_name, fraction, "%", goal, "lower", against, place, command, spread)]
    for job, part in (("all", "with matrix products"), ("products", "matrix products alone")):
        value = round(1000 * times[job].median / BATCH, 3)
        measured.append(Row(f"{name}: {part}", value, "ms per image", None, "lower", against, place, command))
    return measured


def _products(queries: Float32Array, plain: Float32Array, in_metric: Float32Array) -> object:
    return queries @ plain.T, queries @ in_metric.T


def _encoder_ms() -> float:
    """Return the least time of SigLIP base/16 at 224 px per image on this machine.

    It is the time of its operations at the rate of torch's product of two bfloat16 matrices, which openvino reaches.
    """
    import torch

    left, right = (torch.randn(_GEMM, _GEMM).bfloat16() for _ in range(2))
    return 1000 * BASE.flops * in_turns({"gemm": lambda: left @ right}, 5)["gemm"].median / (2.0 * _GEMM**3)


def _make_flow(count: int, labels: int) -> tuple[Flow, Float32Array]:
    """Return a flow over labels of several images each, fitted to a few of them, and 64 query vectors."""
    embeddings, queries = random_vectors(count, BATCH)
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(labels, DIM)).astype(np.float32) / np.float32(DIM**0.5)
    label_ids = np.sort(rng.integers(0, labels, count))
    embeddings = normalized(embeddings + centers[label_ids])
    queries = normalized(queries + centers[rng.integers(0, labels, BATCH)])
    contents = contents_of(embeddings, [f"label {label:05}" for label in label_ids])
    config = PipelineConfig.model_validate({"rerank": {"enabled": False}})
    index = Index(contents, IdentityTransform(), embeddings)
    calibration = fit_by_leave_one_out(config.retrieval, [index], most=_SAMPLE)[0]
    contents = replace(contents, calibration=calibration.to_arrays(contents))
    encoder: Any = NoEncoder()
    return Flow.open(config, [encoder], [Index(contents, IdentityTransform(), embeddings)]), queries
