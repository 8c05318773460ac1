"""A drift test in a file belongs to one index, and resumes where that is calibrated again; vectors are tested too."""

import json
import shutil

import numpy as np
import pytest

from lmm_classifier.testing import clustered_embeddings
from tests.helpers.command_line import run

LABELS = ["cat"] * 20 + ["dog"] * 20


@pytest.fixture
def folder(tmp_path):
    """An index of vectors, others of the same labels in their order, and vectors of no label."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "known.npy", clustered_embeddings(rng, LABELS, 8, 0.4))
    np.save(tmp_path / "new.npy", clustered_embeddings(np.random.default_rng(0), LABELS * 2, 8, 0.4)[40:])
    np.save(tmp_path / "other.npy", np.eye(8, dtype=np.float32)[rng.integers(0, 8, 40)] + rng.normal(0, 0.1, (40, 8)))
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    run("import", "known.npy", "--labels", "labels.txt", "--encoder", "clip@1", cwd=tmp_path)
    return tmp_path


def names_in(file):
    return [json.loads(line)["name"] for line in file.read_text().splitlines()[1:]]


@pytest.mark.long
def test_vectors_are_tested_in_an_order_of_their_own(folder):
    """Results keep the order of the file, which is sorted by label; other vectors raise the alarm."""
    done = run("classify", "--vectors", "new.npy", "--drift", "days.drift", "--output", "r.jsonl", cwd=folder)
    assert "drift: no change found in 40 images" in done.stderr
    tested = names_in(folder / "days.drift")
    rows = [str(row) for row in range(40)]
    assert [json.loads(line)["path"] for line in (folder / "r.jsonl").read_text().splitlines()] == rows
    assert tested != rows
    assert sorted(tested, key=int) == rows
    run("classify", "--vectors", "new.npy", "--drift", "days.drift", cwd=folder)
    assert names_in(folder / "days.drift") == tested  # the same vectors are no news
    changed = run("classify", "--vectors", "other.npy", "--drift", "days.drift", cwd=folder).stderr
    assert "drift: the images changed, they are less familiar; alarm at image" in changed
    assert "images with the most evidence:" in changed


@pytest.mark.long
def test_the_test_of_another_index_is_refused(folder):
    """Calibrated again and edited it is the same index; copied too; one that is made anew is another one."""
    run("classify", "--vectors", "new.npy", "--drift", "days.drift", cwd=folder)
    run("calibrate", cwd=folder)
    run("remove", "00", cwd=folder)
    shutil.copytree(folder / "index", folder / "copy", ignore=shutil.ignore_patterns("*.lock"))
    np.save(folder / "later.npy", np.load(folder / "new.npy") + np.float32(0.001))
    run("classify", "--vectors", "later.npy", "--index", "copy", "--drift", "days.drift", cwd=folder)
    data = (folder / "days.drift").read_bytes()
    assert len(names_in(folder / "days.drift")) == 80
    run("import", "known.npy", "--labels", "labels.txt", "--encoder", "clip@1", "--output", "again", cwd=folder)
    refused = run("classify", "--vectors", "new.npy", "--index", "again", "--drift", "days.drift", cwd=folder, code=1)
    assert "days.drift holds the drift test of another index or of other encoders: expected" in refused.stderr
    assert "name another file to begin a new test" in refused.stderr
    assert (folder / "days.drift").read_bytes() == data
