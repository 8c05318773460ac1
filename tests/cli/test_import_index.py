"""Vectors in files become an index that the other commands work on."""

import csv
import json

import numpy as np
import pytest

from lmm_classifier.index.formats import read_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.command_line import run
from tests.helpers.vector_indexes import object_embeddings

LABELS = ["cat"] * 12 + ["dog"] * 12
VECTORS = clustered_embeddings(np.random.default_rng(0), LABELS, 8, 0.4)


@pytest.fixture
def folder(tmp_path):
    """A folder with vectors as arrays."""
    np.save(tmp_path / "vectors.npy", VECTORS)
    np.save(tmp_path / "new.npy", clustered_embeddings(np.random.default_rng(0), LABELS * 2, 8, 0.4)[24:])
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    return tmp_path


def test_arrays(folder):
    """The index has the vectors, and classify, evaluate, calibrate, audit, info and doctor work on it."""
    done = run("import", "vectors.npy", "--labels", "labels.txt", "--encoder", "clip@1", cwd=folder)
    assert done.stdout == "index: 24 vectors of 8 numbers, 2 labels of vectors.npy\n"
    assert (Index.open(folder / "index").vectors() == VECTORS).all()
    run("calibrate", cwd=folder)
    assert "clip@1" in run("info", cwd=folder).stdout
    assert "none: made from vectors" in run("info", cwd=folder).stdout
    assert "sound" in run("doctor", cwd=folder).stdout
    assert "leave-one-out accuracy" in run("audit", cwd=folder).stdout
    run("relabel", "00", "--to", "dog", cwd=folder)
    run("undo", cwd=folder)
    lines = run("classify", "--vectors", "new.npy", "--format", "jsonl", cwd=folder).stdout.splitlines()
    results = [json.loads(line) for line in lines]
    assert [result["path"] for result in results] == [str(row) for row in range(24)]
    assert np.mean([result["label"] == label for result, label in zip(results, LABELS)]) > 0.7
    done = run("evaluate", "--vectors", "new.npy", "--labels", "labels.txt", "--html", "page.html", cwd=folder)
    assert done.stdout.startswith("24 images of known labels, 0 unknown images\n")
    run("classify", "--vectors", "new.npy", "--fail-on-unknown", "--set", "retrieval.familiarity_threshold=99",
        cwd=folder, code=4)  # fmt: skip


def test_a_table(folder):
    """Ids are shown as they are; results go to a file."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    ids = [f"/data/{row:02}.jpg" for row in range(24)]
    parquet.write_table(arrow.table({"emb": list(VECTORS), "class": LABELS, "path": ids}), folder / "table.parquet")
    done = run("import", "table.parquet", "--label-column", "class", "--id-column", "path", cwd=folder)
    assert "(vectors of 'emb', labels of 'class', ids of 'path')" in done.stdout
    assert list(read_index(folder / "index").paths) == ids
    run("classify", "--vectors", "table.parquet", "--id-column", "path", "--output", "results.csv", cwd=folder)
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ids
    assert [row["nearest_path"] for row in rows] == ids
    done = run("import", "table.parquet", cwd=folder, code=1)
    assert "index holds an index already" in done.stderr
    done = run("import", "table.parquet", "--output", "other", cwd=folder, code=1)
    assert "no column 'label'. Columns: emb, class, path" in done.stderr
    assert not (folder / "other").exists()


def test_what_is_refused(folder):
    """Options that do not belong together, and labels that no command would accept; nothing is written."""
    run("import", "vectors.npy", cwd=folder, code=2)
    run("import", "index.npz", "--labels", "labels.txt", cwd=folder, code=2)
    (folder / "unknown.txt").write_text("unknown\n" * 24, encoding="utf-8")
    done = run("import", "vectors.npy", "--labels", "unknown.txt", cwd=folder, code=1)
    assert "cannot be told from unknown_label" in done.stderr
    (folder / "hidden.txt").write_text("cat\u200b\n" * 24, encoding="utf-8")
    assert "cannot be seen" in run("import", "vectors.npy", "--labels", "hidden.txt", cwd=folder, code=1).stderr
    assert not (folder / "index").exists()
    run("import", "vectors.npy", "--labels", "labels.txt", cwd=folder)
    assert "no known ending" in run("classify", "--vectors", "labels.txt", cwd=folder, code=1).stderr
    for others in (["photo.png"], ["--html", "page.html"], ["--leave-out-identical"], ["--files-from", "list"]):
        done = run("classify", "--vectors", "new.npy", *others, cwd=folder, code=2)
        assert "--vectors excludes" in done.stderr
    for arguments in ([], [".", "--vectors", "new.npy"], ["--vectors", "new.npy", "--leave-out-identical"]):
        run("evaluate", *arguments, cwd=folder, code=2)
    assert "has no labels" in run("evaluate", "--vectors", "new.npy", cwd=folder, code=1).stderr
    done = run(
        "classify", "--vectors", "new.npy", "--config", "vectors", "--set", "encoder.model=x", cwd=folder, code=1
    )
    assert "encoder.model is 'x'" in done.stderr


def test_groups_of_a_table_and_of_a_list(folder):
    """They are stored with the vectors, `calibrate` holds them out, and `evaluate` has its intervals by them."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    groups = [None if row == 0 else f"object {row // 3}" for row in range(24)]
    (folder / "groups.txt").write_text("".join(f"{group or ''}\n" for group in groups), encoding="utf-8")
    new = np.load(folder / "new.npy")
    for name, vectors in (("table", VECTORS), ("new", new)):
        rows = arrow.table({"emb": list(vectors), "label": LABELS, "object": groups})
        parquet.write_table(rows, folder / f"{name}.parquet")
    done = run("import", "table.parquet", "--group-column", "object", cwd=folder)
    assert "groups of 'object'" in done.stdout
    run("import", "vectors.npy", "--labels", "labels.txt", "--groups", "groups.txt", "--output", "other", cwd=folder)
    assert read_index(folder / "other").groups == read_index(folder / "index").groups
    assert len(read_index(folder / "index").groups) == 23
    for index in ("index", "other"):
        assert "of 9 groups" in run("calibrate", index, "--group-by", "column", cwd=folder).stdout
    common = ["evaluate", "--vectors"]
    figures = []
    for options in (
        ["new.parquet", "--group-column", "object"],
        ["new.npy", "--labels", "labels.txt", "--groups", "groups.txt"],
    ):
        run(*common, *options, "--json", "figures.json", cwd=folder)
        figures.append(json.loads((folder / "figures.json").read_text(encoding="utf-8")))
    assert figures[0]["groups"] == {"known": 9, "unknowns": 0, "largest": 3}
    assert figures[0] == figures[1]
    refused = run("import", "table.parquet", "--groups", "groups.txt", "--output", "x", cwd=folder, code=2)
    assert "in a table they are columns" in refused.stderr
    unknown = run("import", "table.parquet", "--group-column", "nope", "--output", "x", cwd=folder, code=1)
    assert "no column 'nope'" in unknown.stderr


def test_repeated_objects_with_stored_groups(tmp_path):
    """The warning names the option that holds the stored groups out; without groups it names those that find them."""
    vectors, labels, objects = object_embeddings(np.random.default_rng(0))
    groups = [f"{label}/{thing}" for label, thing in zip(labels, objects)]
    for name, given in (("index", groups), ("plain", None)):
        Index.from_vectors(vectors, labels, groups=given).save(tmp_path / name)
    printed = run("calibrate", cwd=tmp_path).stdout
    assert "The index has the groups of its vectors: use --group-by column to hold them out together." in printed
    assert "--target-images to compare with unlabeled new images" in run("calibrate", "plain", cwd=tmp_path).stdout
    assert "not certified" not in run("calibrate", "--group-by", "column", cwd=tmp_path).stdout


def test_pages_of_vectors(folder):
    """They say that there is no image, and show the name alone."""
    (folder / "labels.txt").write_text("\n".join(["dog", *LABELS[1:]]) + "\n", encoding="utf-8")
    run("import", "vectors.npy", "--labels", "labels.txt", cwd=folder)
    run("audit", "--html", "audit.html", cwd=folder)
    run("evaluate", "--vectors", "new.npy", "--labels", "labels.txt", "--html", "page.html", cwd=folder)
    for name in ("audit.html", "page.html"):
        page = (folder / name).read_text(encoding="utf-8")
        assert "made from a vector, no image" in page
        assert "dev/null" not in page
        assert ">null/" not in page


def test_vectors_that_are_named_wrongly(folder):
    """Two files, or a table without the option: nothing is left out in silence, and the message says what to type."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    parquet.write_table(arrow.table({"emb": list(VECTORS), "label": LABELS}), folder / "table.parquet")
    parquet.write_table(arrow.table({"a": list(VECTORS), "b": list(VECTORS)}), folder / "two.parquet")
    parquet.write_table(arrow.table({"label": LABELS}), folder / "none.parquet")
    run("import", "vectors.npy", "--labels", "labels.txt", cwd=folder)
    for command in ("classify", "evaluate"):
        twice = run(command, "--vectors", "new.npy", "--vectors", "table.parquet", cwd=folder, code=2)
        assert "--vectors is given 2 times" in twice.stderr
    assert "Did you mean --vectors?" in run("classify", "table.parquet", cwd=folder, code=1).stderr
    assert "--vectors" not in run("classify", "none.parquet", cwd=folder, code=1).stderr
    chosen = run("classify", "--vectors", "two.parquet", cwd=folder, code=1).stderr
    assert "Name the one that holds the vectors with --vector-column." in chosen
    other = run("import", "table.parquet", "--label-column", "class", "--output", "x", cwd=folder, code=1).stderr
    assert "Columns: emb, label. Name another with --label-column." in other
    other = run("classify", "--vectors", "table.parquet", "--id-column", "id", cwd=folder, code=1).stderr
    assert "Name another with --id-column." in other
