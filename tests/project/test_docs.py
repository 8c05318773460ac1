"""Documents cannot lie: what is generated is current, what can be run is run, what is named exists."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.rows import Row
from benchmarks.tables import (
    PAGE,
    PERFORMANCE,
    QUALITY,
    RELIABILITY,
    goal,
    page,
    performance,
    quality,
    readme,
    reliability,
)
from lmm_classifier.config import PipelineConfig
from scripts.write_config_docs import files, keys
from tests.helpers.corpora import draw_corpus
from tests.helpers.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_generated_files_are_current(path):
    """config/*.yaml and docs/configuration.md are what the configuration model says."""
    assert path.read_text(encoding="utf-8") == files()[path], "run scripts/write_config_docs.py"


def test_every_key_is_documented():
    """Each key of the configuration stands in docs/configuration.md with a meaning."""
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for path, meaning, _ in keys(PipelineConfig):
        assert f"`{path}`" in text
        assert len(meaning) > 15, path


def test_benchmark_tables_are_current():
    """docs/benchmarks.md and the README's table are made from the measured rows."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m benchmarks.tables"
    assert QUALITY.read_text(encoding="utf-8") == quality(), "run python -m benchmarks.tables"
    assert PERFORMANCE.read_text(encoding="utf-8") == performance(), "run python -m benchmarks.tables"
    assert RELIABILITY.read_text(encoding="utf-8") == reliability(), "run python -m benchmarks.tables"
    assert readme() == README, "run python -m benchmarks.tables"


def test_readme_python_runs(tmp_path):
    """The Python of the README runs as it stands, in a folder with pictures."""
    draw_corpus(tmp_path / "pictures", count=3, size=64)
    draw_corpus(tmp_path / "more", count=1, seed=5, size=64)
    (tmp_path / "new").mkdir()
    for number, path in enumerate(sorted((tmp_path / "more").rglob("*.png"))):
        path.rename(tmp_path / "new" / ("picture.jpg" if number == 0 else f"{number}.jpg"))
    (tmp_path / "config").symlink_to(ROOT / "config")
    (code,) = blocks(README, "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "12 indexed, 0 skipped" in done.stdout


def test_a_missed_goal_is_shown():
    """A row that misses its goal is marked, a row that meets it exactly is not."""
    row = Row("x", 4.0, "s", 5.0, "higher", "", "", "")
    assert "missed" in goal(row)
    assert "missed" not in goal(replace(row, value=5.0))
    assert "missed" not in goal(replace(row, better="lower"))
    assert goal(replace(row, goal=None)) == ""


def test_linked_files_exist():
    """Links in the documents lead somewhere."""
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_readme_is_short():
    """Under 200 lines."""
    assert len(README.splitlines()) < 200
