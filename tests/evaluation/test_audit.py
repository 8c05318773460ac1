"""The audit finds what was planted, and nothing where nothing is."""

import csv
import json
import shutil

import numpy as np
import pytest

from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.metrics import average_precision
from lmm_classifier.evaluation.audit import audit
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.testing import clustered_rows, some_fingerprint
from tests.cli.test_app import OFFLINE, run
from tests.helpers.corpora import draw_corpus

LABELS = ["a"] * 50 + ["b"] * 40 + ["c"] * 30 + ["d"] * 3


def made(path, vectors, labels, hashes=None):
    """An index of given vectors."""
    hashes = hashes or [f"{number:064x}" for number in range(len(labels))]
    paths = [f"{label}/{number}.jpg" for number, label in enumerate(labels)]
    manifest = Manifest(some_fingerprint(vectors.shape[1]), "identity", len(labels), "corpus", "2026-01-01", "0")
    write_index(path, Contents(manifest, list(labels), paths, hashes, {}, lambda: [vectors]))
    return ExactIndex.open(path)


@pytest.fixture
def vectors():
    return clustered_rows(np.random.default_rng(0), LABELS, 24, spread=0.7)


def test_planted_labels_come_first(tmp_path, vectors):
    """Six flipped labels are the six most doubtful, each with the label it had before and neighbours that say so."""
    flipped = {3: "b", 17: "c", 51: "a", 66: "c", 92: "a", 100: "b"}
    labels = [flipped.get(row, label) for row, label in enumerate(LABELS)]
    found = audit(made(tmp_path / "i.npz", vectors, labels), RetrievalConfig())
    assert {one.path for one in found.suspects[:6]} == {f"{label}/{row}.jpg" for row, label in flipped.items()}
    for one in found.suspects[:6]:
        row = int(one.path.split("/")[1].split(".")[0])
        assert one.suggested == LABELS[row]
        assert one.neighbors[0].example.label == LABELS[row]
        assert 0 < one.doubt <= 1
    doubt = np.array([found.ranking[row] for row in range(len(labels))])
    assert average_precision(doubt, np.array([row in flipped for row in range(len(labels))])) > 0.99


def test_a_clean_corpus(tmp_path, vectors):
    """Nothing is doubted, but the thin label is named."""
    found = audit(made(tmp_path / "i.npz", vectors, LABELS), RetrievalConfig())
    assert found.suspects == []
    assert found.duplicates == []
    assert found.thin == {"d": 3}
    assert found.accuracy == 1
    assert found.interval[0] > 0.95


def test_duplicates(tmp_path, vectors):
    """The same bytes, the same picture under two labels, and chains of near pictures, contradictions first."""
    vectors = vectors.copy()
    hashes = [f"{number:064x}" for number in range(len(LABELS))]
    hashes[1], vectors[1] = hashes[0], vectors[0]
    hashes[60], vectors[60] = hashes[2], vectors[2]
    for row in (11, 12):
        near = vectors[10] + 0.02 * vectors[row]
        vectors[row] = near / np.linalg.norm(near)
    found = audit(made(tmp_path / "i.npz", vectors, LABELS, hashes), RetrievalConfig(), near=0.995)
    assert [(one.paths, one.exact, one.contradict) for one in found.duplicates] == [
        (("a/2.jpg", "b/60.jpg"), True, True),
        (("a/0.jpg", "a/1.jpg"), True, False),
        (("a/10.jpg", "a/11.jpg", "a/12.jpg"), False, False),
    ]
    assert 0.995 <= found.duplicates[2].similarity < 1


def test_an_outlier(tmp_path, vectors):
    """A picture like nothing else is named."""
    vectors = vectors.copy()
    away = -vectors[:50].mean(axis=0) - vectors[50:90].mean(axis=0) - vectors[90:].mean(axis=0)
    vectors[5] = away / np.linalg.norm(away)
    found = audit(made(tmp_path / "i.npz", vectors, LABELS), RetrievalConfig())
    assert [one.path for one in found.outliers] == ["a/5.jpg"]


@pytest.mark.parametrize("labels", [["a"] * 4, ["a", "b", "c"]])
def test_nothing_to_leave_out(tmp_path, labels):
    """A corpus that cannot be audited is told what it lacks."""
    vectors = clustered_rows(np.random.default_rng(0), labels, 8)
    with pytest.raises(CalibrationError, match="an audit needs two labels"):
        audit(made(tmp_path / "i.npz", vectors, labels), RetrievalConfig())


def test_from_the_command_line(tmp_path):
    """Drawn patterns, one under a wrong label and one twice: on the terminal, in JSON, CSV and on the page."""
    corpus = draw_corpus(tmp_path / "corpus", count=8)
    shutil.move(corpus / "gingham" / "03.png", corpus / "stripes" / "gingham.png")
    shutil.copy(corpus / "stripes" / "00.png", corpus / "herringbone" / "twice.png")
    run("build", corpus, "--output", tmp_path / "index.npz", "--config", OFFLINE)
    done = run(
        "audit", tmp_path / "index.npz",
        "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", "--html", tmp_path / "a.html",
    )  # fmt: skip
    assert "stripes/gingham.png: labelled stripes, looks like gingham" in done.stdout
    assert "same bytes under several labels: herringbone/twice.png, stripes/00.png" in done.stdout
    found = json.loads((tmp_path / "a.json").read_text())
    assert "stripes/gingham.png" in [one["path"] for one in found["suspects"]]
    assert found["duplicates"][0]["contradict"]
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"wrong label", "same bytes"} <= {row["finding"] for row in rows}
    page = (tmp_path / "a.html").read_text()
    assert "One picture, several labels" in page
    assert "data:image/jpeg" in page
    refused = run("audit", tmp_path / "nothing.npz", code=1)
    assert "there is no index" in refused.stderr
