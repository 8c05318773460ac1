"""What a notebook shows can be read by everybody, on light and on dark, and is no wider than its cell."""

import numpy as np
import pytest

pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

from lmm_classifier import (
    CalibrationRequest,
    HybridClassifier,
    audit_index,
    build_index_from_directory,
    calibrate_index,
    evaluate_folder,
)
from tests.browser.test_accessibility import check
from tests.helpers.datasets import offline_config

THEMES = {"light": ("#ffffff", "#000000"), "dark": ("#111111", "#e0e0e0")}


@pytest.fixture(scope="module")
def fragments(drawn, tmp_path_factory):
    """The HTML of a report of each kind, of an index with odd names."""
    config = offline_config(tmp_path_factory.mktemp("notebook") / "index", rerank__enabled=False)

    reports = [build_index_from_directory(drawn / "dataset", config.retrieval.index_path, config=config)]
    reports.append(calibrate_index(config.retrieval.index_path, config, CalibrationRequest(keep_known=0.9)))
    with HybridClassifier(config) as classifier:
        reports.append(evaluate_folder(drawn / "new", classifier))
        results = list(classifier.classify_paths(sorted((drawn / "inbox").rglob("*.png"))))
        results.append(classifier.classify(np.zeros((40, 60, 3), np.uint8)))
        reports.append(classifier.show(results))
    reports.append(audit_index(config.retrieval.index_path, config))
    return [report._repr_html_() for report in reports]


@pytest.mark.long
@pytest.mark.parametrize("width", [420, 1000])
@pytest.mark.parametrize("theme", THEMES)
def test_reports_can_be_read(browser, fragments, theme, width):
    """No rule of axe is broken, contrast included; the notebook around has a heading."""
    background, color = THEMES[theme]
    page = browser.new_page(viewport={"width": width, "height": 900})
    style = f"background: {background}; color: {color}; font: 14px sans-serif"
    parts = "".join(f"<div>{fragment}</div>" for fragment in fragments)
    page.set_content(
        f"<!DOCTYPE html><html lang='en'><head><title>Notebook</title></head><body style='{style}'><main>"
        f"<h1>Notebook</h1><h2>Cell</h2>{parts}</main></body></html>"
    )
    try:
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        check(page)
    finally:
        page.close()
