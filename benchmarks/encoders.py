"""From images to vectors on a CPU, compared with a transformers pipeline and with the machine's matrix products.

The weights are random, of the real shapes. All encoders start from the same JPEG files. The rate of matrix products is
that of torch (oneDNN) for two bfloat16 matrices of 4096 x 4096. It is measured in turns with the encoder on decoded
images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import SiglipImageProcessorPil, pipeline

from benchmarks.real_shapes import BASE, SO400M, Shape, photographs
from benchmarks.rows import Row, run_part, where
from benchmarks.side_by_side import in_turns, ratio, value_range
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import read_image
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.embeddings.registry import open_encoder

COMMAND = "python -m benchmarks.performance --only encoders"
GEMM = 4096
GEMM_FLOPS = 2.0 * GEMM**3
GEMM_NOTE = (
    "the speed of SigLIP's operations at the rate of this product; no hard limit: openvino alone is slightly above it"
)


def transformers_pipeline(checkpoint: Path) -> Callable[[Sequence[Path]], Float32Array]:
    """Return the pipeline of transformers, one image at a time, in its own number type (float32)."""
    processor = SiglipImageProcessorPil.from_pretrained(checkpoint)
    extract = pipeline("image-feature-extraction", model=str(checkpoint), image_processor=processor, device="cpu")

    def run(paths: Sequence[Path]) -> Float32Array:
        vectors = np.array([np.ravel(extract(str(path), pool=True)) for path in paths], np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    return run


def encode_as_build(encoder: Encoder, paths: Sequence[Path]) -> Float32Array:
    """Encode files as a build does."""
    batches = encode_files(paths, Encoding([LazyEncoder(lambda: encoder)], ImagesConfig(), 64))
    return np.concatenate([batch.vectors[0] for batch in batches])


def gemm() -> Callable[[], Any]:
    """Return the product that sets the reference rate. It takes about as long as one image."""
    left, right = (torch.randn(GEMM, GEMM).bfloat16() for _ in range(2))
    return lambda: left @ right


def rows_of_shape(shape: Shape, work: Path, count: int, rounds: int) -> list[Row]:
    """Return the rows of one vision tower."""
    checkpoint = shape.save(work / "checkpoint")
    paths = photographs(work / "images", count, (640, 480))
    openvino = open_encoder(EncoderConfig(backend="openvino", model=str(checkpoint), converted_dir=work / "converted"))
    siglip = open_encoder(EncoderConfig(model=str(checkpoint)))
    run_pipeline = transformers_pipeline(checkpoint)
    cosine = float((run_pipeline(paths[:2]) * encode_as_build(openvino, paths[:2])).sum(axis=1).min())
    jobs: dict[str, Callable[[], Any]] = {
        "pipeline": lambda: run_pipeline(paths),
        "openvino": lambda: encode_as_build(openvino, paths),
        "siglip": lambda: encode_as_build(siglip, paths),
    }
    times = in_turns(jobs, rounds)
    pipeline_rate = count / times["pipeline"].median
    data = (
        f"{count} JPEGs of 640x480, SigLIP {shape.name}, random weights; "
        f"pipeline, one image at a time, {pipeline_rate:.2f}/s"
    )
    gemm_row, gemm_rate = fraction_of_gemm(shape, openvino, paths, rounds)

    def row(
        name: str, value: float, unit: str, goal: float | None = None, against: str = data, spread: str = ""
    ) -> Row:
        place = where("openvino", "torch", "transformers")
        return Row(f"encoder {shape.name}: {name}", value, unit, goal, "higher", against, place, COMMAND, spread)

    measured = []
    for job, name in (
        ("openvino", f"openvino {openvino.fingerprint.dtype}"),
        ("siglip", "siglip auto"),
    ):
        value, spread = ratio(times["pipeline"], times[job])
        full_name = f"{name}, speed relative to a transformers pipeline"
        measured.append(row(full_name, round(value, 2), "x", spread=spread))
    measured.append(row("cosine with the pipeline", round(cosine, 6), "", 0.9999))
    value = gemm_rate / (pipeline_rate * shape.flops)
    full_name = "bfloat16 GEMM rate, speed relative to a transformers pipeline"
    return [*measured, row(full_name, round(value, 2), "x", against=GEMM_NOTE), gemm_row]


def fraction_of_gemm(shape: Shape, encoder: Encoder, paths: Sequence[Path], rounds: int) -> tuple[Row, float]:
    """Return the fraction of the machine's matrix products that the encoder alone reaches, and their rate (FLOP/s)."""
    preprocessed = [encoder.preprocess(read_image(path).image) for path in paths]
    product = gemm()
    repeats = max(1, round(shape.flops * len(paths) / GEMM_FLOPS / 4))
    times = in_turns(
        {"gemm": lambda: [product() for _ in range(repeats)], "alone": lambda: encoder.encode(preprocessed)}, rounds
    )
    gemm_flops, encoder_flops = GEMM_FLOPS * repeats, shape.flops * len(paths)
    percentages = [
        100 * (encoder_flops / alone) / (gemm_flops / gemm_seconds)
        for alone, gemm_seconds in zip(times["alone"].seconds, times["gemm"].seconds)
    ]
    gemm_rate = gemm_flops / times["gemm"].median
    row = Row(
        f"encoder {shape.name}: openvino alone, fraction of the bfloat16 GEMM rate",
        round(100 * encoder_flops / times["alone"].median / gemm_rate, 1),
        "%",
        85.0,
        "higher",
        f"{shape.flops / 1e9:.0f} GFLOP per image; torch product of {GEMM} x {GEMM}: {gemm_rate / 1e9:.0f} GFLOP/s",
        where("openvino", "torch"),
        COMMAND,
        value_range(percentages),
    )
    return row, gemm_rate


def sentence_transformers_row(work: Path, count: int, rounds: int) -> Row:
    """Compare with sentence-transformers' image encoder, a CLIP ViT-B/32 with batch 32, on the same checkpoint."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import CLIPModel as SentenceClip
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel
    from transformers import CLIPTokenizerFast as Tokenizer  # type: ignore[attr-defined]

    folder = work / "clip"
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    _tiny_tokenizer(Tokenizer).save_pretrained(folder)
    paths = photographs(work / "images32", count, (640, 480))
    sentence = SentenceTransformer(modules=[SentenceClip(str(folder))], device="cpu")
    openvino = open_encoder(EncoderConfig(backend="openvino", model=str(folder), converted_dir=work / "converted"))
    jobs: dict[str, Callable[[], Any]] = {
        "sentence": lambda: sentence.encode([Image.open(path) for path in paths], batch_size=32),
        "openvino": lambda: encode_as_build(openvino, paths),
    }
    times = in_turns(jobs, rounds)
    value, spread = ratio(times["sentence"], times["openvino"])
    against = f"{count} JPEGs of 640x480, CLIP ViT-B/32@224, random weights; sentence-transformers, batch 32"
    place = where("openvino", "sentence-transformers", "torch", "transformers")
    name = "encoder CLIP ViT-B/32: openvino, speed relative to sentence-transformers"
    return Row(name, round(value, 2), "x", None, "higher", against, place, COMMAND, spread)


def _tiny_tokenizer(kind: Any) -> Any:
    """Return a tokenizer of a few words: sentence-transformers loads one even for images."""
    return kind(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "a</w>": 3}, merges=[])


def rows(quick: bool = False) -> list[Row]:
    """Measure both towers, and sentence-transformers where it is installed."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        measured = rows_of_shape(BASE, work / "base", 8 if quick else 24, 2 if quick else 5)
        if not quick:
            measured += rows_of_shape(SO400M, work / "so400m", 4, 3)
        try:
            measured.append(sentence_transformers_row(work, 32, 2 if quick else 5))
        except ImportError as error:
            print(f"sentence-transformers is left out: {error}")
    return measured


if __name__ == "__main__":
    run_part("encoders", __doc__, rows)
