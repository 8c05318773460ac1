"""Use an installed core without extras: build, classify, and check the hints about missing extras."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np

import lmm_classifier
from lmm_classifier import HybridClassifier, PipelineConfig, build_index_from_directory
from lmm_classifier.core.errors import MissingExtraError
from lmm_classifier.data.synthetic.catalog import draw

COMMAND = str(Path(sys.executable).parent / "lmm-classifier")


def run(*arguments: str) -> str:
    """Run the installed command; a failure ends the smoke test with its output."""
    process = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise SystemExit(f"lmm-classifier {' '.join(arguments)} ended with {process.returncode}:\n{process.stderr}")
    return process.stdout


def main() -> None:
    """Try everything that the README says about the core."""
    rng = np.random.default_rng(0)
    for label in ("stripes", "polka_dots"):
        folder = Path("dataset") / label
        folder.mkdir(parents=True)
        for number in range(6):
            draw(label, rng).save(folder / f"{number}.png")
    config = PipelineConfig.preset("offline")
    config.retrieval.index_path = Path("index.npz")
    config.retrieval.open_set_threshold = -1.0
    report = build_index_from_directory(image_root=Path("dataset"), output_path=Path("index.npz"), config=config)
    assert report.total == 12, report
    with HybridClassifier(config) as classifier:
        result = classifier.classify(draw("polka_dots", rng))
        assert result.label in report.indexed, result
        assert classifier.classify("dataset/stripes/0.png").label == "stripes"
    assert set(lmm_classifier.__all__) >= {"HybridClassifier", "PipelineConfig", "build_index_from_directory"}
    assert (files("lmm_classifier.neighbors") / "int8_matmul.onnx").is_file()
    assert "polka_dots" in run("info", "index.npz")
    line = run("classify", "dataset/stripes/0.png", "--index", "index.npz", "--config", "offline", "--format", "jsonl")
    assert json.loads(line)["label"] == "stripes", line
    try:
        build_index_from_directory(image_root=Path("dataset"), output_path=Path("other.npz"), config=PipelineConfig())
    except MissingExtraError as error:
        assert "pip install 'lmm-classifier[siglip]'" in str(error), error
    else:
        raise AssertionError("the bare core must not load SigLIP")
    config.rerank.backend = "openai_api"
    try:
        HybridClassifier(config)
    except MissingExtraError as error:
        assert "pip install 'lmm-classifier[openai-api]'" in str(error), error
    else:
        raise AssertionError("the bare core must not load an HTTP client")
    run("demo", "--output", "demo")
    assert Path("demo/index.html").stat().st_size > 100_000
    print("smoke test passed")


if __name__ == "__main__":
    main()
