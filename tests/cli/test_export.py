"""`export` writes a durable index into one file, and `import` makes a durable index of it."""

from tests.helpers.command_line import OFFLINE, run


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
