"""Outputs of the program on drawn data, reduced to those that are the same on every machine."""

import json
import shutil

import numpy as np
from typer.testing import CliRunner

from lmm_classifier.cli.app import app
from lmm_classifier.config import PipelineConfig
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.registry import open_encoder
from tests.helpers.datasets import draw_dataset
from tests.helpers.paths import TESTS

FROZEN = TESTS / "fixtures" / "frozen_outputs.json"
_LABELS = ("polka_dots", "pin_dots", "stripes", "pinstripe", "gingham", "checkerboard", "herringbone", "diamonds")
_VOLATILE = {
    "created",
    "program",
    "bytes",
    "content_hash",
    "date",
    "milliseconds",
    "seconds",
    "source",
    "stages",
    "version",
}
_SIZE = 40  # pixels; so small that the program makes some mistakes


def commands(folder):
    """Return the JSON of every command on drawn data: build, info, classify, evaluate, audit and report.

    Of each result it has two candidates.
    """
    draw_dataset(folder / "train", _LABELS, count=8, size=_SIZE)
    draw_dataset(folder / "new", (*_LABELS, "camouflage"), count=4, seed=5, size=_SIZE)
    shutil.copy(folder / "train/stripes/00.png", folder / "train/gingham/same.png")  # for the audit
    index = str(folder / "index")
    common = ["--config", "config/offline.yaml", "--set", f"retrieval.index_path={index}"]
    common += ["--set", "retrieval.prediction_set_alpha=0.1"]

    def run(*arguments):
        done = CliRunner().invoke(app, [*map(str, arguments), *common])
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        return done.stdout

    run("build", folder / "train", "--output", index, "--report", folder / "build.json")
    uncalibrated = run("classify", folder / "new", "--format", "jsonl")
    run("calibrate", "--target-precision", "0.8", "--confidence-level", "0.7", "--rerank")
    run("evaluate", folder / "new", "--json", folder / "evaluate.json")
    run("audit", "--json", folder / "audit.json")
    run("report", "--json", folder / "report.json")
    results = {
        "build": json.loads((folder / "build.json").read_text()),
        "info": json.loads(run("info", "--json")),
        "classify_uncalibrated": [json.loads(line) for line in uncalibrated.splitlines()],
        "classify": [json.loads(line) for line in run("classify", folder / "new", "--format", "jsonl").splitlines()],
        **{name: json.loads((folder / f"{name}.json").read_text()) for name in ("evaluate", "audit", "report")},
    }
    for name in ("classify", "classify_uncalibrated"):
        results[name] = [{**result, "candidates": result["candidates"][:2]} for result in results[name]]
    return cleaned(results, str(folder))


def vectors(backend, model, **settings):
    """Return the first numbers of the embeddings of an encoder on eight drawn images, as lists."""
    encoder = open_encoder(
        PipelineConfig.model_validate({"encoder": {"backend": backend, "model": model, **settings}}).encoder
    )
    rng = np.random.default_rng(3)
    return encode_images(encoder, [draw(label, rng, 128) for label in _LABELS])[:, :4].tolist()


def cleaned(value, folder):
    """Drop the values that differ by machine and day, and give every folder one name."""
    if isinstance(value, dict):
        return {key: cleaned(item, folder) for key, item in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return [cleaned(item, folder) for item in value]
    return value.replace(folder, "FOLDER") if isinstance(value, str) else value
