"""Hostile files: mutated archives and databases, random configurations, and trees with unusual file names."""

from __future__ import annotations

import logging
import os
import random
import tempfile
from itertools import pairwise
from pathlib import Path

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.images import mutated, seeds
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError, LmmClassifierError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.classifier import HybridClassifier

_WORDS = (
    "retrieval:", "  k: ", "  rule: auto", "labels: [a, b]", "rerank:\n  enabled: false", "!!python/object:os.system",
    "&a", "*a", "<<: *a", "{", "}", "[", "]", "- ", ": ", "\n", "\n  ", "'", '"', "|", ">", "null", "true", "1e999",
    "-1", ".nan", "\t", "%YAML 9", "---", "...", "#", "? ", "0x10", "2026-11-24", "\u2028", "unknown_key: 1",
    "images:\n  max_pixels: ",
)  # fmt: skip
_NAMES = (
    b"line\nbreak.png", b"caf\xe9.png", b"\xff\xfe.png", ("\N{SNOWMAN}" * 83).encode() + b".png", b"q" * 251 + b".png",
    b" .png", b"-rf.png", b"'; DROP TABLE examples;--.png", b"a\\b.png", b"<script>.png", b"%s%n.png", b"~.png",
)  # fmt: skip


def archives(count: int) -> Outcome:
    """Open mutated `.npz` files and databases. Each must be refused, or read as the original."""
    outcome = Outcome("hostile index files")
    logging.disable(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name).resolve()
            jobs.draw_datasets(root)
            index = root / "index"
            build_index_from_directory(root / "before", index, config=PipelineConfig.offline())
            write_index(root / "index.npz", Index.open(index).contents)
            originals = [(root / "index.npz").read_bytes(), (index / "index.sqlite").read_bytes()]
            rng = random.Random(3)
            for number in range(count):
                is_folder = number % 2 == 1
                bad = root / ("bad" if is_folder else "bad.npz")
                if is_folder:
                    bad.mkdir(exist_ok=True)
                    for file in bad.glob("index*"):
                        file.unlink()
                (bad / "index.sqlite" if is_folder else bad).write_bytes(mutated(originals[is_folder], rng))
                outcome.add(_open(bad))
    finally:
        logging.disable(logging.NOTSET)
    return outcome


def _open(path: Path) -> str | None:
    try:
        index = Index.open(path)
        return None if len(index.gallery.embeddings) == len(index.examples) == 16 else "opened with different examples"
    except LmmClassifierError:
        return None
    except Exception as error:  # noqa: BLE001 - any other error is a loss
        return f"{type(error).__name__}: {error}"


def configurations(count: int) -> Outcome:
    """Read random configurations. Each must be read, or refused by a ConfigError."""
    outcome = Outcome("hostile configurations")
    rng = random.Random(4)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "config.yaml"
        for _ in range(count):
            text = "".join(rng.choice(_WORDS) for _ in range(rng.randrange(1, 25))).encode()
            file.write_bytes(mutated(text, rng) if rng.random() < 0.3 else text)
            try:
                PipelineConfig.from_yaml(file)
                outcome.add(None)
            except ConfigError as error:
                outcome.add(None if str(error) else "a refusal without a message")
            except Exception as error:  # noqa: BLE001 - any other error is a loss
                outcome.add(f"{type(error).__name__}: {error} on {text!r}")
        letters = "abcdefghijklmnop"
        doublings = "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise(letters))
        file.write_text(f"a: &a [x, x]\n{doublings}")
        try:
            PipelineConfig.from_yaml(file)
            outcome.add("aliases were expanded")
        except ConfigError:
            outcome.add(None)
    return outcome


def names() -> Outcome:
    """Build, sync and classify a tree with unusual names, links that loop or lead outside, and a pipe."""
    outcome = Outcome("hostile names and links")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        jobs.draw_datasets(root)
        dataset, images = root / "before", seeds()
        count = 0
        for number, file_name in enumerate(_NAMES):
            for folder in (dataset / "argyle", dataset / os.fsdecode(file_name[:200].replace(b".png", b""))):
                try:
                    folder.mkdir(exist_ok=True)
                    (folder / os.fsdecode(file_name)).write_bytes(images[number % 3] + b" " * number)
                    count += 1
                except OSError:
                    continue  # this file system does not support the name
        (dataset / "loop").symlink_to(dataset)
        (dataset / "argyle" / "loop.png").symlink_to("loop.png")
        (dataset / "argyle" / "out.png").symlink_to("/etc/passwd")
        (root / "outside.png").write_bytes(images[0])
        (dataset / "argyle" / "away.png").symlink_to(root / "outside.png")
        os.mkfifo(dataset / "argyle" / "pipe.png")
        for index in (root / "index", root / "index.npz"):
            outcome.add(_build_and_classify(dataset, index, count))
    outcome.notes.append(f"{count} unusual names in one tree")
    return outcome


def _build_and_classify(dataset: Path, path: Path, count: int) -> str | None:
    config = PipelineConfig.offline()
    config.retrieval.index_path = path
    config.rerank.enabled = False
    logging.disable(logging.WARNING)
    try:
        report = build_index_from_directory(dataset, path, config=config)
        if report.total < count:
            return f"{report.total} of {count} images indexed"
        kinds = {skipped.kind for skipped in report.skipped}
        if kinds != {"symlink", "outside", "unreadable", "no_label"}:  # one folder is called " "
            return f"skipped as {sorted(kinds)}"
        if path.suffix != ".npz" and IndexEditor(path, config).sync(dataset).changes.any:  # type: ignore[union-attr]
            return "a sync without changes found changes"
        files = [dataset / example for example in Index.open(path).contents.paths]
        lines = [result.to_json() for result in HybridClassifier(config).classify_paths(files)]
        return (
            None
            if all("\n" not in line and line.isascii() for line in lines)
            else "a result that is not one ASCII line"
        )
    except Exception as error:  # noqa: BLE001 - any error is a loss
        return f"{type(error).__name__}: {error}"
    finally:
        logging.disable(logging.NOTSET)
