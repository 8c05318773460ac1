"""`demo` draws images, classifies them, prints its figures and writes pages."""

import pytest

from lmm_classifier.cli import demo_data, demo_results
from tests.helpers.command_line import run

PAGES = ("index", "evaluation", "audit", "reranking")


@pytest.fixture
def few_labels(monkeypatch):
    """The demo of six labels and one unknown class, which takes a fraction of the time."""
    known = ("polka_dots", "houndstooth", "stripes", "pinstripe", "gingham", "checkerboard")
    for module in (demo_data, demo_results):
        monkeypatch.setattr(module, "KNOWN", known)
    monkeypatch.setattr(demo_data, "UNKNOWN", ("camouflage",))
    monkeypatch.setattr(demo_data, "_EXAMPLES", 5)
    monkeypatch.setattr(demo_data, "_NEW", 2)
    monkeypatch.setattr("lmm_classifier.cli.demo._MAX_CALLS", 20)
    monkeypatch.setattr("lmm_classifier.calibration.cross_fitting._FOLDS", 3)
    monkeypatch.setattr("lmm_classifier.cli.demo._TARGET", 0.5)  # a guarantee that few examples can give


def test_a_small_demo(few_labels, tmp_path):
    """Figures are printed, each page is one file without links to elsewhere, and a second run replaces the first."""
    done = run("demo", "--output", "shown", cwd=tmp_path)
    for text in ("31 images of 6 patterns indexed", "known images correct: ", "of 12", "planted wrong label: number"):
        assert text in done.stdout
    for name in PAGES:
        page = (tmp_path / "shown" / f"{name}.html").read_text(encoding="utf-8")
        assert "http" not in page.replace("http-equiv", "")
        assert f"shown/{name}.html: " in done.stdout
    assert (tmp_path / "shown" / "index.html").read_text(encoding="utf-8").count("data:image/jpeg") > 14
    without_reranker = run("demo", "--output", "shown", "--set", "rerank.enabled=false", cwd=tmp_path)
    assert "shown/index.html: " in without_reranker.stdout
    assert "shown/reranking.html" not in without_reranker.stdout
    assert not (tmp_path / "shown" / "reranking.html").exists()


@pytest.mark.long
def test_the_whole_demo(tmp_path):
    """Retrieval is accurate, a guarantee is given, and reranking is tried on confused pairs."""
    done = run("demo", "--output", "shown", cwd=tmp_path)
    for text in (
        "known images correct",
        "unknown called unknown",
        "planted wrong label: number",
        "guarantee: ",
        "corrected",
    ):
        assert text in done.stdout
    page = (tmp_path / "shown" / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") > 100
