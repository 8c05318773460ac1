"""`export` writes a durable index into one file, and `import` makes a durable index of it."""

import json
from dataclasses import replace

import pytest

from lmm_classifier.index.formats import read_index, write_index
from tests.contracts.test_readers import needs
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset
from tests.helpers.remote_sources import s3_server


@pytest.mark.long
def test_an_exported_and_imported_index_gives_the_same_results(editable):
    """Nothing is encoded, and no index is overwritten."""
    assert "copy.npz: 16 examples of index" in run("export", "--output", "copy.npz", cwd=editable).stdout
    run("import", "copy.npz", "--output", "other", cwd=editable)
    results = [
        run("classify", "photo.png", "--index", name, "--format", "jsonl", "--config", OFFLINE, cwd=editable).stdout
        for name in ("index", "copy.npz", "other")
    ]
    assert results[0] == results[1] == results[2]
    assert "0 encoded" in run("sync", "dataset", "--index", "other", "--config", OFFLINE, cwd=editable).stdout
    done = run("import", "copy.npz", "--output", "other", cwd=editable, code=1)
    assert "holds an index already" in done.stderr
    done = run("import", "copy.npz", "--output", "second.npz", cwd=editable, code=1)
    assert "second.npz is the name of an .npz file" in done.stderr
    assert "One of them must be an .npz file" in run("export", "index", "--output", "x", cwd=editable, code=1).stderr


def test_no_file_is_overwritten_by_an_export(editable):
    """The file may be another index with its own calibration, or no index at all."""
    (editable / "mine.npz").write_bytes(b"measured")
    done = run("export", "--output", "mine.npz", cwd=editable, code=1)
    assert "mine.npz exists already. --overwrite replaces it." in done.stderr
    assert (editable / "mine.npz").read_bytes() == b"measured"
    run("export", "--output", "mine.npz", "--overwrite", cwd=editable)
    assert len(read_index(editable / "mine.npz").paths) == len(read_index(editable / "index").paths)


def test_the_history_is_exported_too(editable):
    """Into a new folder, with what is kept besides the examples."""
    run("add", "photo.png", "--label", "argyle", "--config", OFFLINE, cwd=editable)
    done = run("export", "--output", "copy.npz", "--history", "history", cwd=editable).stdout
    assert "history: 2 edits, 0 runs, 0 results, 0 answers, 1 added, 0 trash, 0 uploads" in done
    kinds = [json.loads(line)["kind"] for line in (editable / "history/edits.jsonl").read_text().splitlines()]
    assert kinds == ["add", "build"]
    done = run("export", "--output", "other.npz", "--history", "history", cwd=editable, code=1)
    assert "history exists already" in done.stderr
    assert not (editable / "other.npz").exists()


@pytest.mark.parametrize(("label", "reason"), [("Unknown", "cannot be told from unknown_label"), ("", "is no label")])
def test_a_label_that_no_command_accepts_is_not_imported(editable, label, reason):
    """Another program may have written the file; with the label of unknown images, no index could be opened."""
    contents = read_index(editable / "index")
    write_index(editable / "other.npz", replace(contents, labels=[label, *contents.labels[1:]]))
    done = run("import", "other.npz", "--output", "other", cwd=editable, code=1)
    assert f"other.npz: {'The label ' if label else ''}{label!r} {reason}" in done.stderr
    assert not (editable / "other").exists()


def test_a_label_called_unknown_is_imported_where_unknown_images_have_another(editable):
    """The setting says so."""
    contents = read_index(editable / "index")
    write_index(editable / "other.npz", replace(contents, labels=["unknown", *contents.labels[1:]]))
    run("import", "other.npz", "--output", "other", "--set", "unknown_label=none of these", cwd=editable)


def test_examples_for_other_programs(editable):
    """Each needs an output; what is not in it is named, and tells by the exit code."""
    run("export", "--to", "csv", cwd=editable, code=2)
    done = run("export", "--to", "csv", "--output", "x.csv", "--link", cwd=editable, code=1)
    assert "link belongs to the format folder, not to csv" in done.stderr
    assert "x.csv: 16 examples of index" in run("export", "--to", "csv", "--output", "x.csv", cwd=editable).stdout
    run("relabel", "stripes/00.png", "--to", "a/b", cwd=editable)
    done = run("export", "--to", "folder", "--output", "sorted", "--link", cwd=editable).stdout
    assert "sorted: 16 examples of index (16 linked)" in done
    assert "the folder of 'a/b' is 'a%2Fb'" in done
    assert (editable / "sorted/a%2Fb/00.png").is_symlink()
    (editable / "dataset/gingham/01.png").unlink()
    done = run("export", "--to", "folder", "--output", "copied", cwd=editable, code=3)
    assert "gingham/01.png: no such file or directory" in done.stderr


def test_an_exported_folder_is_a_dataset(editable):
    """It is built like any other one."""
    run("export", "--to", "folder", "--output", "sorted", cwd=editable)
    done = run("build", "sorted", "--output", "again", "--config", OFFLINE, cwd=editable)
    assert "16 images" in done.stderr + done.stdout


def results(index, folder):
    """Return what is classified with an index, without the identity of the run."""
    done = run("classify", "photo.png", "--index", index, "--format", "jsonl", "--config", OFFLINE, cwd=folder)
    return [
        {name: value for name, value in json.loads(line).items() if name != "run"} for line in done.stdout.splitlines()
    ]


@needs("lance", "pyarrow")
def test_a_table_answers_as_its_index_and_is_not_edited(editable, monkeypatch):
    """In a folder; every command that edits says what to do instead, and changes nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(editable / "cache"))
    done = run("export", "--to", "lance", "--output", "t.lance", cwd=editable)
    assert "t.lance: 16 examples of index" in done.stdout
    assert results("t.lance", editable) == results("index", editable)
    assert run("doctor", "t.lance", cwd=editable).stdout == "t.lance: sound\n"
    path = read_index(editable / "index").paths[0]
    for command in (["relabel", "--to", "x", path], ["remove", path], ["undo"], ["add", "--label", "x", "photo.png"]):
        done = run(command[0], *command[1:], "--index", "t.lance", cwd=editable, code=1)
        assert "t.lance is a table, which is read but not edited. Build it again" in done.stderr
    done = run("export", "--to", "lance", "--output", "table", cwd=editable, code=2)
    assert "NAME.lance, or a URL" in done.stderr
    done = run("export", "--to", "lance", "--output", "t.lance", cwd=editable, code=1)
    assert "t.lance holds an index already" in done.stderr


@pytest.mark.long
@needs("lance", "pyarrow", "moto", "flask", "boto3", "fsspec", "s3fs")
def test_a_table_on_an_object_store_does_all_that_reads(editable, tmp_path, monkeypatch):
    """From the export to the import, with a calibration that is stored next to the rows."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(editable / "cache"))
    with s3_server(tmp_path, monkeypatch) as bucket:
        url = f"{bucket}/deep/table"
        draw_dataset(editable / "new", count=3, seed=1, size=48)
        run("export", "--to", "lance", "--output", url, cwd=editable)
        assert results(url, editable) == results("index", editable)
        assert "16" in run("info", url, cwd=editable).stdout
        run("calibrate", url, "--config", OFFLINE, cwd=editable)
        run("calibrate", "index", "--config", OFFLINE, cwd=editable)
        assert results(url, editable) == results("index", editable)
        described = json.loads(run("info", url, "--json", cwd=editable).stdout)
        assert (described["calibration"]["state"], described["path"]) == ("loaded", url)
        first, second = (
            run("evaluate", "new", "--index", index, "--config", OFFLINE, cwd=editable).stdout
            for index in (url, "index")
        )
        assert first == second
        assert "leave-one-out accuracy" in run("audit", url, "--config", OFFLINE, cwd=editable).stdout
        assert run("doctor", url, cwd=editable).stdout == f"{url}: sound\n"
        run("export", url, "--to", "csv", "--output", "t.csv", cwd=editable)
        done = run("sync", "dataset", "--index", url, "--config", OFFLINE, cwd=editable, code=1)
        assert f"{url} is a table" in done.stderr
        run("import", url, "--output", "back", cwd=editable)
    first, second = read_index(editable / "index"), read_index(editable / "back")
    assert (list(first.paths), list(first.labels)) == (list(second.paths), list(second.labels))
    assert results("back", editable) == results("index", editable)
