"""The pages for people who come from another program: what they ran before, and what they run here, does run."""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import lmm_classifier
from tests.helpers.paths import ROOT
from tests.project.test_docs import blocks, draw_quickstart

PAGES = ROOT / "docs/migration"
NEEDS = {  # page -> libraries of the code before
    "scikit-learn": ("sklearn",),
    "cleanlab": ("cleanlab", "sklearn"),
    "clip-retrieval": ("faiss", "pandas", "pyarrow"),
    "fiftyone": ("fiftyone",),
    "autodistill": ("autodistill_clip",),
}


def code_of(page):
    """Return the code before and the code after."""
    before, after = blocks((PAGES / f"{page}.md").read_text(encoding="utf-8"), "python")
    return before, after


def run(code, folder):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def vectors(tmp_path):
    """Arrays as the readers of these pages have them: 600 digits of scikit-learn, of which one has a wrong label."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    images, labels = datasets.load_digits(return_X_y=True)
    given = labels[:600].copy()
    given[7] = (given[7] + 4) % 10
    np.save(tmp_path / "embeddings.npy", images[:600].astype(np.float32))
    np.save(tmp_path / "labels.npy", given)
    np.save(tmp_path / "new.npy", images[600:900].astype(np.float32))
    return tmp_path


def test_every_page_has_ten_lines_before_and_after():
    """Both parts are Python that can be read, about as long as each other, and no page is forgotten."""
    assert {path.stem for path in PAGES.glob("*.md")} == NEEDS.keys()
    for page in NEEDS:
        for code in code_of(page):
            ast.parse(code)
            assert 5 <= len([line for line in code.splitlines() if line]) <= 14, page


@pytest.mark.parametrize("page", ["scikit-learn", "cleanlab", "clip-retrieval"])
@pytest.mark.long
def test_the_pages_about_vectors(vectors, page):
    """The code before runs alone, and that after runs in the same program."""
    missing = [name for name in NEEDS[page] if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    if page == "clip-retrieval":
        import pandas as pd

        for folder in ("img_emb", "metadata"):
            (vectors / folder).mkdir()
        (vectors / "embeddings.npy").rename(vectors / "img_emb/img_emb_0.npy")
        paths = [f"photos/{label}/{row}.png" for row, label in enumerate(np.load(vectors / "labels.npy"))]
        pd.DataFrame({"image_path": paths}).to_parquet(vectors / "metadata/metadata_0.parquet")
    before, after = code_of(page)
    assert "before: " in run(before, vectors)
    if not hasattr(lmm_classifier, "Index"):
        pytest.skip("this version has no index of vectors")
    printed = run(f"{before}\n{after}", vectors)
    shown = re.search("^after: (.+)$", printed, flags=re.MULTILINE)[1]
    if page == "scikit-learn":
        assert int(re.findall(r"(\d+) % known", shown)[0]) > 80
    elif page == "cleanlab":
        assert 7 in ast.literal_eval(shown)
    else:
        assert [label for label, _, _ in ast.literal_eval(shown)] == ["0", "1", "2"]


@pytest.mark.parametrize("page", ["fiftyone", "autodistill"])
@pytest.mark.long
def test_the_pages_about_images(tmp_path, page):
    """The code after runs in a folder with images; that before says that it was not run."""
    draw_quickstart(tmp_path)
    before, after = code_of(page)
    if find_spec(NEEDS[page][0]) is None:
        text = " ".join((PAGES / f"{page}.md").read_text(encoding="utf-8").split())
        assert "was not run here" in text
        assert NEEDS[page][0] in before
    printed = run(after, tmp_path)
    assert "gingham" in printed
    assert Path(tmp_path, "index").is_dir()
