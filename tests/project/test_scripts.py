"""The scripts that README and Makefile name do what they say."""

import json
import subprocess
import sys
import tempfile

import pytest

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.cli.demo_data import draw_demo_data
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from scripts import demo_rerank, make_demo_image
from tests.helpers.datasets import offline_config
from tests.helpers.paths import ROOT


@pytest.mark.long
def test_the_image_of_the_readme_is_what_the_demo_draws(tmp_path):
    """The six cards of docs/images/demo.png have the results that a demo gives now."""
    dataset, _ = draw_demo_data(tmp_path / "demo", 0)
    config = offline_config(tmp_path / "demo/index")
    build_index_from_directory(dataset, config.retrieval.index_path, config=config)
    calibrate_index(config.retrieval.index_path, config, CalibrationRequest(0.95, max_calls=400))
    cards = make_demo_image.choose(*make_demo_image.demo_results(tmp_path / "demo"))
    shown = json.loads((ROOT / "docs/images/demo.json").read_text(encoding="utf-8"))
    drawn = make_demo_image.facts(cards)
    assert [(card["image"], card["label"], card["reason"]) for card in drawn] == [
        (card["image"], card["label"], card["reason"]) for card in shown
    ], "make demo, then python -m scripts.make_demo_image"
    assert [card["score"] for card in drawn] == pytest.approx([card["score"] for card in shown], abs=0.02)


@pytest.mark.long
def test_every_display_is_drawn(tmp_path):
    """Each display of `lmm_classifier.plots` has its image in the guide."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from PIL import Image

    from lmm_classifier import plots
    from scripts import draw_plots

    draw_plots.main([str(tmp_path)])
    drawn = {path.name for path in tmp_path.iterdir()}
    assert len(drawn) == len(plots.__all__)
    assert drawn == {path.name for path in draw_plots.TARGET.iterdir()}
    guide = (ROOT / "docs/guides/notebooks.md").read_text(encoding="utf-8")
    for path in tmp_path.iterdir():
        assert f"images/plots/{path.name}" in guide
        with Image.open(path) as image:
            assert min(image.size) > 300


@pytest.mark.long
def test_the_reranker_demo_corrects_more_than_it_breaks(tmp_path, capsys):
    """The tiny Qwen2-VL is asked about some images only, and the pages are written."""
    pytest.importorskip("transformers")
    demo_rerank.main(["--output", str(tmp_path)])
    figures = dict(line.strip().split(": ", 1) for line in capsys.readouterr().out.splitlines() if ": " in line)
    assert int(figures["corrected"]) > int(figures["newly wrong"])
    assert 0 < int(figures["asked"].split()[0]) < int(figures["new images"]) / 2
    assert "<svg" in (tmp_path / "reranking.html").read_text(encoding="utf-8")
    assert (tmp_path / "index.html").stat().st_size > 100_000


@pytest.mark.long
def test_the_wheel_works_in_an_empty_folder():
    """With the extra `lite` and without a network; see the script."""
    from scripts import try_wheel

    asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--dest"]
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run([*asked, folder, "filelock"], capture_output=True, check=False).returncode != 0:
            pytest.skip("no package index can be reached")
    try_wheel.main()
