"""`classify` writes the formats of other programs as a whole, when the run is done."""

import json

import numpy as np
import pytest

from lmm_classifier.core.errors import OutputError
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset
from tests.helpers.exported import images_of, leftovers, rows_of, tasks_of
from tests.helpers.installed import is_installed

needs_parquet = pytest.mark.skipif(
    not (is_installed("pyarrow") and is_installed("pandas")), reason="needs pyarrow and pandas"
)


@pytest.fixture
def new(place, tmp_path):
    """New images, one of them broken, and the arguments that classify them."""
    draw_dataset(tmp_path / "new", count=1, seed=1, size=64)
    (tmp_path / "new/bad.png").write_bytes(b"broken")
    return ["classify", "new", "--index", place / "index.npz", "--config", OFFLINE]


def test_tasks_and_images(new, tmp_path):
    """Each image is there, and the labels are those of the index."""
    run(*new, "--format", "label-studio", "--output", "t.json", "--url-prefix", "https://a.b/", cwd=tmp_path, code=3)
    found = tasks_of(tmp_path / "t.json")
    assert len(found) == 5
    assert {one.rest["image"] for one in found} >= {"https://a.b/new/bad.png"}
    assert '<Choice value="herringbone"/>' in (tmp_path / "t.xml").read_text("utf-8")
    done = run(*new, "--format", "fiftyone", "--output", "folder", "--report", "r.json", cwd=tmp_path, code=3)
    assert "5 images" in done.stderr
    assert [one.rest["file"].is_file() for one in images_of(tmp_path / "folder")] == [True] * 5
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["images"] == 5


@needs_parquet
def test_a_table_with_everything(new, tmp_path):
    """The ending of a name chooses the format; images are those files, vectors and probabilities are whole."""
    wanted = ["--all-labels", "--with-vectors", "--with-images"]
    run(*new, "--output", "results.parquet", *wanted, cwd=tmp_path, code=3)
    for one in rows_of(tmp_path / "results.parquet"):
        if one.rest["reason"] == "unreadable":
            assert one.rest["image"] is None
            continue
        assert one.rest["image"]["bytes"] == (tmp_path / one.path).read_bytes()
        assert sum(entry["probability"] for entry in one.rest["probabilities"]) == pytest.approx(1)
        assert np.linalg.norm(one.rest["vector"]) == pytest.approx(1, abs=1e-5)
        assert one.rest["run"]
    lines = run(*new, "--format", "jsonl", "--all-labels", cwd=tmp_path, code=3).stdout.splitlines()
    assert [len(json.loads(line).get("probabilities", ())) for line in lines].count(4) == 4


@needs_parquet
def test_vectors_become_a_table(place, tmp_path):
    """With their vectors and all labels; formats of images are refused."""
    run("export", place / "index.npz", "--to", "parquet", "--output", "x.parquet", cwd=tmp_path)
    given = ["classify", "--vectors", "x.parquet", "--id-column", "path", "--index", place / "index.npz"]
    run(*given, "--output", "out.parquet", "--with-vectors", "--all-labels", cwd=tmp_path)
    before, after = rows_of(tmp_path / "x.parquet"), rows_of(tmp_path / "out.parquet")
    assert [one.path for one in before] == [one.path for one in after]
    assert (np.stack([o.rest["vector"] for o in before]) == np.stack([o.rest["vector"] for o in after])).all()
    for chosen in ("label-studio", "fiftyone"):
        done = run(*given, "--format", chosen, "--output", "y", cwd=tmp_path, code=2)
        assert "--vectors excludes --format" in done.stderr


def test_an_interrupted_run(new, tmp_path, monkeypatch):
    """Nothing is written, and the line says so and what to do instead."""
    monkeypatch.setattr(
        "lmm_classifier.integrations.exports.label_studio.LabelStudioTasks.write", _interrupted, raising=True
    )
    done = run(*new, "--format", "label-studio", "--output", "t.json", cwd=tmp_path, code=130)
    assert "t.json was not changed: label-studio is written as a whole. With --format jsonl" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]
    assert leftovers(tmp_path) == []


def _interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--format", "parquet"], "needs --output"),
        (["--format", "fiftyone", "--output", "x", "--resume"], "--resume needs --format jsonl or csv"),
        (["--format", "csv", "--all-labels"], "--all-labels needs --format jsonl or parquet"),
        (["--format", "jsonl", "--with-images"], "need --format parquet"),
        (["--with-vectors"], "need --format parquet"),
        (["--format", "jsonl", "--url-prefix", "x"], "--url-prefix needs --format label-studio"),
        (["--format", "jsonl", "--all-labels", "--server", "http://localhost"], "--server excludes --all-labels"),
    ],
)
def test_options_that_do_not_belong_together(new, tmp_path, options, reason):
    """They are wrong usage, and nothing is classified."""
    arguments = new if "--server" not in options else ["classify", "new", "--config", OFFLINE]
    assert reason in " ".join(run(*arguments, *options, cwd=tmp_path, code=2).stderr.split())


def test_standard_input_has_no_file(place, tmp_path):
    """Another program could not show it; a table can hold its bytes."""
    image = next((place / "new/stripes").glob("*.png")).read_bytes()
    new = ["classify", "-", "--index", place / "index.npz", "--config", OFFLINE]
    done = run(*new, "--format", "fiftyone", "--output", "out", cwd=tmp_path, code=1, stdin=image)
    assert "Standard input has no file that fiftyone could show" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_outputs_of_one_name(new, tmp_path):
    """One would replace the other."""
    done = run(*new, "--format", "label-studio", "--output", "x", "--report", "./x", cwd=tmp_path, code=1)
    assert "Cannot write two outputs to x" in done.stderr


def test_nothing_is_replaced(new, tmp_path):
    """An earlier output needs --overwrite; a file of a user is never replaced."""
    (tmp_path / "t.json").write_text("mine", "utf-8")
    tasks = [*new, "--format", "label-studio", "--output", "t.json"]
    assert "exists already" in run(*tasks, cwd=tmp_path, code=1).stderr
    done = run(*tasks, "--overwrite", cwd=tmp_path, code=1)
    assert isinstance(done.error, SystemExit | OutputError)
    assert "is no such export" in done.stderr
    assert (tmp_path / "t.json").read_text("utf-8") == "mine"
    (tmp_path / "t.json").unlink()
    run(*tasks, cwd=tmp_path, code=3)
    run(*tasks, "--overwrite", cwd=tmp_path, code=3)
