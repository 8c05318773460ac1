"""What the program answers on drawn data, reduced to what is the same on every machine: numbers, labels, reasons."""

import json
import shutil

import numpy as np
from typer.testing import CliRunner

from lmm_classifier.cli.app import app
from lmm_classifier.config import PipelineConfig
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.registry import open_encoder
from tests.helpers.corpora import draw_corpus
from tests.helpers.paths import TESTS

FROZEN = TESTS / "fixtures" / "frozen_outputs.json"
_LABELS = ("polka_dots", "pin_dots", "stripes", "pinstripe", "gingham", "checkerboard", "herringbone", "diamonds")
_VOLATILE = {"created", "program", "bytes", "content_hash", "seconds", "stages", "version"}
_SIZE = 40  # pixels: small enough for mistakes


def commands(folder):
    """The JSON of every command on drawn data: build, calibrate, info, classify, evaluate, audit, report."""
    draw_corpus(folder / "train", _LABELS, count=8, size=_SIZE)
    draw_corpus(folder / "new", (*_LABELS, "camouflage"), count=4, seed=5, size=_SIZE)
    shutil.copy(folder / "train/stripes/00.png", folder / "train/gingham/same.png")  # for the audit
    index = str(folder / "index")
    common = ["--config", "config/offline.yaml", "--set", f"retrieval.index_path={index}"]
    common += ["--set", "retrieval.set_alpha=0.1"]

    def run(*arguments):
        done = CliRunner().invoke(app, [*map(str, arguments), *common])
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        return done.stdout

    run("build", folder / "train", "--output", index, "--report", folder / "build.json")
    uncalibrated = run("classify", folder / "new", "--format", "jsonl")
    run("calibrate", "--target-precision", "0.8", "--delta", "0.3", "--rerank")
    run("evaluate", folder / "new", "--json", folder / "evaluate.json")
    run("audit", "--json", folder / "audit.json")
    run("report", "--json", folder / "report.json")
    found = {
        "build": json.loads((folder / "build.json").read_text()),
        "info": json.loads(run("info", "--json")),
        "classify_uncalibrated": [json.loads(line) for line in uncalibrated.splitlines()],
        "classify": [json.loads(line) for line in run("classify", folder / "new", "--format", "jsonl").splitlines()],
        **{name: json.loads((folder / f"{name}.json").read_text()) for name in ("evaluate", "audit", "report")},
    }
    return cleaned(found, str(folder))


def vectors(backend, model, **settings):
    """The vectors of an encoder on five drawn pictures, as lists."""
    encoder = open_encoder(
        PipelineConfig.model_validate({"encoder": {"backend": backend, "model": model, **settings}}).encoder
    )
    rng = np.random.default_rng(3)
    return encoder.encode_images([draw(label, rng, 128) for label in _LABELS]).tolist()


def cleaned(value, folder):
    """Drop what differs by machine and day; folders by one name."""
    if isinstance(value, dict):
        return {key: cleaned(item, folder) for key, item in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return [cleaned(item, folder) for item in value]
    return value.replace(folder, "FOLDER") if isinstance(value, str) else value


def outputs(folder, encoders):
    """Everything that is frozen; `encoders` maps names to (backend, model) of checkpoints at hand."""
    return {**commands(folder), "vectors": {name: vectors(*which) for name, which in encoders.items()}}


def shortened(found):
    """What is kept in the repository: the first numbers of each vector, the first two candidates of each result."""
    kept = {**found, "vectors": {name: [row[:4] for row in rows] for name, rows in found["vectors"].items()}}
    for name in ("classify", "classify_uncalibrated"):
        kept[name] = [{**one, "candidates": one["candidates"][:2]} for one in found[name]]
    return kept
