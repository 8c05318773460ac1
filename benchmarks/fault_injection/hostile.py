"""Hostile files: mutated archives and databases, configurations of any text, trees with names of any bytes."""

from __future__ import annotations

import logging
import os
import random
import tempfile
from itertools import pairwise
from pathlib import Path

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.outcome import Outcome
from benchmarks.fault_injection.pictures import mutated, seeds
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError, LmmClassifierError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import ExactIndex

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
    """Mutated `.npz` files and databases: refused, or what is read is checked; never anything else."""
    outcome = Outcome("hostile index files")
    logging.disable(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name).resolve()
            jobs.draw_corpora(place)
            index = place / "index"
            build_index_from_directory(place / "before", index, config=PipelineConfig.offline())
            write_index(place / "index.npz", ExactIndex.open(index).contents)
            goods = [(place / "index.npz").read_bytes(), (index / "index.sqlite").read_bytes()]
            dice = random.Random(3)
            for number in range(count):
                folder = number % 2 == 1
                bad = place / ("bad" if folder else "bad.npz")
                if folder:
                    bad.mkdir(exist_ok=True)
                    for file in bad.glob("index*"):
                        file.unlink()
                (bad / "index.sqlite" if folder else bad).write_bytes(mutated(goods[folder], dice))
                outcome.add(_opened(bad))
    finally:
        logging.disable(logging.NOTSET)
    return outcome


def _opened(path: Path) -> str | None:
    try:
        index = ExactIndex.open(path)
        return None if len(index.gallery.units) == len(index.examples) == 16 else "opened with other examples"
    except LmmClassifierError:
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what this looks for
        return f"{type(error).__name__}: {error}"


def configurations(count: int) -> Outcome:
    """Configurations put together at random: read, or refused by a ConfigError."""
    outcome = Outcome("hostile configurations")
    dice = random.Random(4)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "config.yaml"
        for _ in range(count):
            text = "".join(dice.choice(_WORDS) for _ in range(dice.randrange(1, 25))).encode()
            file.write_bytes(mutated(text, dice) if dice.random() < 0.3 else text)
            try:
                PipelineConfig.from_yaml(file)
                outcome.add(None)
            except ConfigError as error:
                outcome.add(None if str(error) else "a refusal without words")
            except Exception as error:  # noqa: BLE001
                outcome.add(f"{type(error).__name__}: {error} on {text!r}")
        letters = "abcdefghijklmnop"
        bomb = "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise(letters))
        bomb = f"a: &a [x, x]\n{bomb}"
        file.write_text(bomb)
        try:
            PipelineConfig.from_yaml(file)
            outcome.add("aliases were expanded")
        except ConfigError:
            outcome.add(None)
    return outcome


def names() -> Outcome:
    """A tree with every odd name, links that loop or lead out, a pipe, a closed folder: built, synced, classified."""
    outcome = Outcome("hostile names and links")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        jobs.draw_corpora(place)
        corpus, data = place / "before", seeds()
        tried = 0
        for number, odd in enumerate(_NAMES):
            for folder in (corpus / "argyle", corpus / os.fsdecode(odd[:200].replace(b".png", b""))):
                try:
                    folder.mkdir(exist_ok=True)
                    (folder / os.fsdecode(odd)).write_bytes(data[number % 3] + b" " * number)
                    tried += 1
                except OSError:
                    continue  # this file system does not take the name
        (corpus / "loop").symlink_to(corpus)
        (corpus / "argyle" / "loop.png").symlink_to("loop.png")
        (corpus / "argyle" / "out.png").symlink_to("/etc/passwd")
        (place / "outside.png").write_bytes(data[0])
        (corpus / "argyle" / "away.png").symlink_to(place / "outside.png")
        os.mkfifo(corpus / "argyle" / "pipe.png")
        for index in (place / "index", place / "index.npz"):
            outcome.add(_worked(corpus, index, tried))
    outcome.notes.append(f"{tried} odd names in one tree")
    return outcome


def _worked(corpus: Path, path: Path, odd: int) -> str | None:
    config = PipelineConfig.offline()
    config.retrieval.index_path = path
    config.rerank.enabled = False
    logging.disable(logging.WARNING)
    try:
        report = build_index_from_directory(corpus, path, config=config)
        if report.total < odd:
            return f"{report.total} of {odd} indexed"
        if {one.kind for one in report.skipped} != {"symlink", "outside", "unreadable"}:
            return f"skipped as {sorted({one.kind for one in report.skipped})}"
        if path.suffix != ".npz" and IndexEditor(path, config).sync(corpus).changes.any:  # type: ignore[union-attr]
            return "a second look found changes"
        from lmm_classifier.pipeline.classifier import HybridClassifier

        files = [corpus / one for one in ExactIndex.open(path).contents.paths]
        lines = [result.to_json() for result in HybridClassifier(config).classify_paths(files)]
        return None if all("\n" not in line and line.isascii() for line in lines) else "a line that is no line"
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    finally:
        logging.disable(logging.NOTSET)
