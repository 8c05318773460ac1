"""What another option excludes is refused with the reason and with what to do."""

import pytest

from lmm_classifier.cli.excluded_options import OF_SERVER, OF_VECTORS
from tests.helpers.command_line import run

VALUES = {
    "--index": "i", "--html": "p.html", "--drift": "d", "--learn-from": "new", "--files-from": "l", "--copy-to": "c",
    "--link-to": "c", "--report": "r.json", "--server": "http://localhost:1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "excluded"),
    [(["--server", "http://localhost:1", "new"], OF_SERVER), (["--vectors", "new.npy"], OF_VECTORS)],
)
def test_each_has_its_reason(tmp_path, given, excluded):
    """Whatever is refused, the message names it, and ends with a sentence that says what to do."""
    for name, reason in excluded.items():
        option = ["new.png"] if name == "IMAGES" else [*name.split(), *([VALUES[name]] if name in VALUES else [])]
        if name == "--with-images":
            option += ["--format", "parquet"]
        if name in ("--with-images", "--resume") or name.startswith("--format"):
            option += ["--output", "results.out", *(["--format", "jsonl"] if name == "--resume" else [])]
        said = " ".join(run("classify", *given, *option, cwd=tmp_path, code=2).stderr.replace("│", " ").split())
        assert f"{given[0]} excludes {name}: {reason}" in said
        assert reason.count(".") >= 2
