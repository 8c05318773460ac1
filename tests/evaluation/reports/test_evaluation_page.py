"""The evaluation page shows the figures, three charts, and the images that were classified worst."""

import numpy as np
import pytest

from lmm_classifier import HybridClassifier, build_index_from_directory
from lmm_classifier.evaluation.evaluate import evaluate_folder
from lmm_classifier.evaluation.figures import percent, summary
from lmm_classifier.evaluation.reports.evaluation_page import write_evaluation_page
from lmm_classifier.evaluation.results import Evaluation
from tests.helpers.datasets import draw_dataset, offline_config
from tests.html.html_page import assert_harmless


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an index, and with small new images: some mistakes, some unknown."""
    root = tmp_path_factory.mktemp("page")
    labels = ("polka_dots", "pin_dots", "stripes", "pinstripe")
    draw_dataset(root / "dataset", labels, count=6, size=32)
    draw_dataset(root / "new", (*labels, "camouflage"), count=4, seed=3, size=32)
    build_index_from_directory(root / "dataset", root / "index", 16, offline_config(root / "index"))
    return root


def page_of(place, tmp_path, **settings):
    classifier = HybridClassifier(offline_config(place / "index", rerank__enabled=False, **settings))
    evaluation = evaluate_folder(place / "new", classifier)
    write_evaluation_page(str(tmp_path / "page.html"), evaluation, classifier)
    figures = evaluation.to_dict(classifier.retriever.calibration.familiarity_threshold)
    return evaluation, figures, (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_page_shows_figures_charts_and_images(place, tmp_path):
    """Every figure of the summary is on the page; each mistake and each unknown image has a card."""
    evaluation, figures, text = page_of(place, tmp_path)
    page = assert_harmless(text)
    for name, value in summary(figures):
        assert name in page.text
        assert value in page.text
    assert len(page.all("svg", role="img")) == 3
    assert {"known", "unknown"} <= {rect["class"] for rect in page.all("rect")}
    correct, accepted = evaluation.correct, evaluation.accepted
    cards = int((accepted & ~correct).sum()) + int((~accepted).sum()) + len(evaluation.unknowns)
    assert cards > 4
    assert len(page.all("article")) == cards
    assert (
        "for an unknown image it is the score of the best label, which was rejected because the image is" in page.text
    )


@pytest.mark.long
def test_the_cells_of_the_matrix_lead_to_their_images(place, tmp_path):
    """Each link of the matrix and of its table has its target, and each wrong pair with a card has a link."""
    evaluation, figures, text = page_of(place, tmp_path)
    page = assert_harmless(text)
    cells = [link["href"] for link in page.all("a") if link.get("tabindex") == "-1"]
    assert cells
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {link["href"][1:] for link in page.all("a")} <= ids
    pairs = {(entry.truth, entry.result.label) for entry in evaluation.known if entry.result.label != entry.truth}
    assert len({cell for cell in cells if cell.startswith(("#mistakes", "#rejected"))}) == len(pairs)
    row = figures["classes"][0]
    answered = [entry for entry in (*evaluation.known, *evaluation.unknowns) if entry.result.label == row["label"]]
    assert row["precision"]["of"] == len(answered)
    assert row["precision"]["count"] == sum(entry.truth == row["label"] for entry in answered)


@pytest.mark.long
def test_the_page_draws_no_threshold_that_decides_nothing(place, tmp_path):
    """Where a similarity decides what is unknown, the chart of the familiarity has no threshold."""
    caption = "Images left of the dashed line are called unknown."
    assert caption in page_of(place, tmp_path)[2]
    assert caption not in page_of(place, tmp_path, retrieval__open_set_threshold=0.2)[2]


def test_an_evaluation_without_results(place, tmp_path):
    """A page of nothing is still a page."""
    classifier = HybridClassifier(offline_config(place / "index"))
    write_evaluation_page(tmp_path / "page.html", Evaluation.of([], {"stripes"}), classifier)
    page = assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "0 asked" in page.text
    assert "nan" not in page.text


@pytest.mark.long
def test_the_former_page_stays_when_writing_fails(place, tmp_path, monkeypatch):
    """If an image cannot be drawn, the old file stays as it was, without a temporary file next to it."""
    (tmp_path / "page.html").write_text("old")

    def fail(*_):
        raise RuntimeError("stop")

    monkeypatch.setattr("lmm_classifier.html.cards.embed_image", fail)
    with pytest.raises(RuntimeError, match="stop"):
        page_of(place, tmp_path)
    assert (tmp_path / "page.html").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_percent():
    """A fraction is written with one decimal, and a missing one as a dash."""
    assert [percent(value) for value in (0.0, 0.5, np.float64(1), None)] == ["0.0%", "50.0%", "100.0%", "-"]
