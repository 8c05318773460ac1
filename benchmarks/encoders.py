"""From pictures to vectors on a CPU: OpenVINO and the others against a transformers pipeline, and against the machine.

The weights are random, of the real shapes; all ways start from the same JPEG files. The ceiling is torch's product of
two bfloat16 matrices of 4096 x 4096 (oneDNN), measured in turns with the encoder on pictures that are ready.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import SiglipImageProcessorPil, pipeline

from benchmarks.real_shapes import BASE, SO400M, Shape, photographs
from benchmarks.rows import Row, where, write_rows
from benchmarks.side_by_side import Times, in_turns, ratio
from lmm_classifier.core.protocols import Encoder, FloatArray
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import read_picture
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.encode_files import LazyEncoder, encode_files
from lmm_classifier.embeddings.registry import open_encoder

COMMAND = "python -m benchmarks.performance --only encoders"
GEMM = 4096
GEMM_FLOPS = 2.0 * GEMM**3
_GEMM_SAID = "what this product would give at SigLIP's operations; not a hard limit: ours is a little above it"


def naive(checkpoint: Path) -> Callable[[Sequence[Path]], FloatArray]:
    """The pipeline of transformers, one picture at a time, in its own number type (float32)."""
    processor = SiglipImageProcessorPil.from_pretrained(checkpoint)
    extract = pipeline("image-feature-extraction", model=str(checkpoint), image_processor=processor, device="cpu")

    def run(paths: Sequence[Path]) -> FloatArray:
        rows = np.array([np.ravel(extract(str(path), pool=True)) for path in paths], np.float32)
        unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    return run


def stream(encoder: Encoder, paths: Sequence[Path]) -> FloatArray:
    """What a build does: files in, vectors out."""
    batches = encode_files(paths, LazyEncoder(lambda: encoder), ImagesConfig(), 64)
    return np.concatenate([batch.vectors for batch in batches])


def gemm() -> Callable[[], Any]:
    """The product that sets the ceiling, about as long as a picture takes."""
    left, right = (torch.randn(GEMM, GEMM).bfloat16() for _ in range(2))
    return lambda: left @ right


def of_shape(shape: Shape, work: Path, count: int, rounds: int, extra: bool = True) -> list[Row]:
    """Rows for one tower."""
    checkpoint = shape.save(work / "checkpoint")
    paths = photographs(work / "pictures", count, (640, 480))
    fast = open_encoder(EncoderConfig(backend="openvino", model=str(checkpoint), converted_dir=work / "converted"))
    pipe = naive(checkpoint)
    cosine = float((pipe(paths[:2]) * stream(fast, paths[:2])).sum(axis=1).min())
    jobs: dict[str, Callable[[], Any]] = {
        "pipeline": lambda: pipe(paths),
        "openvino": lambda: stream(fast, paths),
    }
    if extra:
        exact = open_encoder(EncoderConfig(model=str(checkpoint)))
        jobs["siglip"] = lambda: stream(exact, paths)
    times = in_turns(jobs, rounds)
    rate = count / times["pipeline"].median
    on = f"{count} JPEGs of 640x480, SigLIP {shape.name}, random weights; pipeline, one at a time, {rate:.2f}/s"
    place = where("openvino", "torch", "transformers")
    found = []
    for name, goal in (("openvino", 5.0), ("siglip", None)):
        if name in times:
            value, spread = ratio(times["pipeline"], times[name])
            kind = fast.fingerprint.dtype if name == "openvino" else "auto"
            said = f"encoder {shape.name}: {name} {kind} : transformers pipeline"
            found.append(Row(said, round(value, 2), "x", goal, "higher", on, place, COMMAND, spread))
    said = f"encoder {shape.name}: cosine with the pipeline"
    found.append(Row(said, round(cosine, 6), "", 0.9999, "higher", on, place, COMMAND))
    share, most = ceiling(shape, fast, paths, rounds)
    said, limit = (
        f"encoder {shape.name}: the bfloat16 GEMM ceiling : transformers pipeline",
        most / (rate * shape.flops),
    )
    found.append(Row(said, round(limit, 2), "x", None, "higher", _GEMM_SAID, place, COMMAND))
    return [*found, share]


def ceiling(shape: Shape, encoder: Encoder, paths: Sequence[Path], rounds: int) -> tuple[Row, float]:
    """The share of the machine's matrix products that the encoder alone reaches, and their rate (FLOP/s)."""
    ready = [encoder.prepare(read_picture(path).image) for path in paths]
    product = gemm()
    repeats = max(1, round(shape.flops * len(paths) / GEMM_FLOPS / 4))
    times = in_turns(
        {"gemm": lambda: [product() for _ in range(repeats)], "alone": lambda: encoder.encode(ready)}, rounds
    )
    rates = {
        "gemm": [GEMM_FLOPS * repeats / one for one in times["gemm"].seconds],
        "alone": [shape.flops * len(paths) / one for one in times["alone"].seconds],
    }
    shares = [100 * mine / most for mine, most in zip(rates["alone"], rates["gemm"])]
    most = GEMM_FLOPS * repeats / Times(times["gemm"].seconds).median
    value = 100 * shape.flops * len(paths) / times["alone"].median / most
    row = Row(
        f"encoder {shape.name}: openvino alone, share of the bfloat16 GEMM ceiling",
        round(value, 1),
        "%",
        85.0,
        "higher",
        f"{shape.flops / 1e9:.0f} GFLOP a picture; torch product of {GEMM} x {GEMM}: {most / 1e9:.0f} GFLOP/s",
        where("openvino", "torch"),
        COMMAND,
        f"{min(shares):.3g} to {max(shares):.3g}",
    )
    return row, most


def peer_of_sentences(work: Path, count: int, rounds: int) -> list[Row]:
    """sentence-transformers' picture encoder, a CLIP ViT-B/32, batch 32, against ours on the same checkpoint."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import CLIPModel as Sentences
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizerFast

    folder = work / "clip"
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    _tiny_tokenizer(CLIPTokenizerFast).save_pretrained(folder)
    paths = photographs(work / "pictures32", count, (640, 480))
    theirs = SentenceTransformer(modules=[Sentences(str(folder))], device="cpu")
    ours = open_encoder(EncoderConfig(backend="openvino", model=str(folder), converted_dir=work / "converted"))
    from PIL import Image

    jobs: dict[str, Callable[[], Any]] = {
        "theirs": lambda: theirs.encode([Image.open(path) for path in paths], batch_size=32),
        "ours": lambda: stream(ours, paths),
    }
    value, spread = (times := in_turns(jobs, rounds)) and ratio(times["theirs"], times["ours"])
    on = f"{count} JPEGs of 640x480, CLIP ViT-B/32@224, random weights; sentence-transformers, batch 32"
    place = where("openvino", "sentence-transformers", "torch", "transformers")
    said = "encoder CLIP ViT-B/32: openvino : sentence-transformers"
    return [Row(said, round(value, 2), "x", None, "higher", on, place, COMMAND, spread)]


def _tiny_tokenizer(kind: Any) -> Any:
    """A tokenizer of a few words: sentence-transformers loads one even for pictures."""
    return kind(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "a</w>": 3}, merges=[])


def rows(quick: bool = False) -> list[Row]:
    """Both towers, and the peers."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        found += of_shape(BASE, work / "base", 8 if quick else 24, 2 if quick else 5)
        if not quick:
            found += of_shape(SO400M, work / "so400m", 4, 3)
        try:
            found += peer_of_sentences(work, 32, 2 if quick else 5)
        except ImportError as error:
            print(f"sentence-transformers is left out: {error}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    write_rows("encoders", rows(parser.parse_args().quick))
