"""Makes docs/images/demo.png: six cards of the contact sheet that `lmm-classifier demo` draws, as Chromium renders it.

Next to the image lies demo.json, the six results. A test runs the demo and compares, so that the image cannot go
stale.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lmm_classifier import HybridClassifier, LabeledResult, PipelineConfig, write_contact_sheet
from lmm_classifier.cli.demo_results import classify_folder, retrieval_label, summarize
from lmm_classifier.data.synthetic.catalog import KNOWN, UNKNOWN

TARGET = Path(__file__).parents[1] / "docs/images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1080, 775)  # CSS pixels
# for the image: the cards of all sections in one grid, without headings
STYLE = """<style>
body { padding: 0 !important; margin: 0 !important; max-width: none !important }
header, h2, footer { display: none !important }
main { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem; padding: 1rem; margin: 0 }
section, .cards { display: contents !important }
</style></head>"""


def choose(results: Sequence[LabeledResult], reranked: Sequence[LabeledResult]) -> list[LabeledResult]:
    """Choose six cards of different classes: one that the reranker corrected, one unknown, four that are accepted."""
    corrected = [entry for entry in reranked if entry.result.label == entry.truth != retrieval_label(entry)]
    unknown = [entry for entry in results if entry.result.is_unknown and entry.truth in UNKNOWN]
    accepted = [entry for entry in results if entry.result.decision.reason == "confident"]
    correct = [entry for entry in accepted if entry.result.label == entry.truth]
    cards = [*corrected[:1], *unknown[-1:]]
    for entry in correct:
        if len(cards) < 6 and entry.truth not in {card.truth for card in cards}:
            cards.append(entry)
    return cards


def facts(entries: Sequence[LabeledResult]) -> list[dict[str, object]]:
    """Return what the image shows, in words and numbers."""
    return [
        {
            "image": "/".join(entry.image.parts[-2:]),
            "label": entry.result.label,
            "score": round(entry.result.score, 2),
            "reason": entry.result.decision.reason,
        }
        for entry in entries
    ]


def demo_results(demo: Path) -> tuple[list[LabeledResult], list[LabeledResult]]:
    """Classify the new images of a demo folder as the demo did, and those of known labels with the reranker."""
    config = PipelineConfig.offline()
    config.retrieval.index_path = demo / "index"
    results = classify_folder(HybridClassifier(config), demo / "new")
    config.rerank.gate.mode, config.retrieval.confidence_threshold = "threshold", 1.0
    config.allow_unknown = False
    asked = [entry for entry in results if entry.truth in KNOWN and entry.result.score < 0.9]
    answers = HybridClassifier(config).classify_paths([entry.image for entry in asked])
    return results, [LabeledResult(entry.image, answer, entry.truth) for entry, answer in zip(asked, answers)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the cards of a finished demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, nargs="?", default=Path("demo"), help="folder that `make demo` wrote")
    demo: Path = parser.parse_args(arguments).demo
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"No browser to render the page: install one of {', '.join(BROWSERS)}.", file=sys.stderr)
        return 1
    results, reranked = demo_results(demo)
    cards = choose(results, reranked)
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page, drawn = Path(folder) / "page.html", Path(folder) / "demo.png"
        write_contact_sheet(page, "Patterns, classified without training", summarize(results), cards, demo / "dataset")
        page.write_text(page.read_text(encoding="utf-8").replace("</head>", STYLE, 1), encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--disable-background-networking", "--no-first-run", f"--user-data-dir={folder}/profile"]
        command += [f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={drawn}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        shutil.copyfile(drawn, TARGET / "demo.png")
    (TARGET / "demo.json").write_text(json.dumps(facts(cards), indent=1) + "\n", encoding="utf-8")
    print(f"{TARGET / 'demo.png'}: {len(cards)} cards")
    return 0


if __name__ == "__main__":
    sys.exit(main())
