"""What the long tests of the server count: rules that pages break, generated requests and malformed files that fail.

The last rows are the seconds from the start of `lmm-classifier serve` until it is ready, with an encoder that has
nothing to load. Counts come from the tests themselves, run by pytest one after another.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.rows import Row, run_part, where
from benchmarks.serving import draw_images
from benchmarks.serving_http import Client
from benchmarks.side_by_side import value_range
from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index

COMMAND = "python -m benchmarks.serving_checks"
ROOT = Path(__file__).parent.parent
PAGES = "tests/browser/test_accessibility.py::test_every_page"
ALONE = "tests/server/test_openapi.py::test_generated_requests"
ALONG_LINKS = "tests/server/test_links.py::test_requests_along_the_links"
MALFORMED = "tests/server/routes/inference/test_classify.py::test_many_malformed_files"
_READY = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n"


def counted(test: str, *options: str) -> Counter[str]:
    """Run a test with pytest; return the sums of the properties that it records, also where it fails.

    Raises:
        SystemExit: the test did not run to its end, for example because something is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-n", "0", "-rs", f"--junitxml={report}", test, *options]
        run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        sums = Counter[str]()
        for recorded in ElementTree.parse(report).iter("property"):
            sums[recorded.attrib["name"]] += int(recorded.attrib["value"])
    if not sums:
        raise SystemExit(f"{test} counted nothing:\n{run.stdout[-2000:]}")
    return sums


def count_rows(quick: bool) -> list[Row]:
    """Run the tests; with `quick` their short forms, and one window."""
    long = ("-m", "not long") if quick else ("-m", "long")
    pages = counted(PAGES, "-m", "long", *(("-k", "light-phone") if quick else ()))
    alone, along_links = counted(ALONE, *long), counted(ALONG_LINKS, *long)
    malformed = counted(MALFORMED, "-m", "long")
    browser, server = where("playwright"), where("fastapi", "uvicorn", "schemathesis")
    windows = "light and dark; phone, desktop, zoom of 200%"
    requests = "failures of all checks"

    def none_of(name: str, value: int, unit: str, against: str, place: str) -> Row:
        return Row(name, value, unit, 0, "lower", against, place, COMMAND)

    return [
        none_of(
            "pages: rules of axe-core broken",
            pages["violations"],
            "violations",
            f"{pages['pages']} pages in windows ({windows}); WCAG 2.2 AA and best practice",
            browser,
        ),
        none_of(
            "generated requests, each operation alone",
            alone["failures"],
            "failures",
            f"schemathesis, {alone['requests']:,} requests, {requests}",
            server,
        ),
        none_of(
            "generated requests, along the links",
            along_links["failures"],
            "failures",
            f"schemathesis, stateful, {along_links['requests']:,} requests, {requests}",
            server,
        ),
        none_of(
            "malformed files by POST: answers 500 and above",
            malformed["errors"],
            "answers",
            f"{malformed['files']:,} files from fuzzers and testers",
            server,
        ),
    ]


def seconds_to_ready(index: Path) -> float:
    """Return the seconds from the start of a server until it is ready; it ends then."""
    command = [sys.executable, "-m", "lmm_classifier", "serve", "--config", "offline", "--index", str(index)]
    started = time.perf_counter()
    with subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if "Listening at" in line)
            client = Client(int(line.split("127.0.0.1:")[1].split(";")[0]))
            while client.ask(_READY)[0] != 200:
                time.sleep(0.01)
            client.close()
            return time.perf_counter() - started
        finally:
            process.terminate()


def start_rows(quick: bool) -> list[Row]:
    """Measure the start on an index of the encoder `descriptor`, which has no weights, before and after `calibrate`."""
    examples, runs = (200, 2) if quick else (2_000, 15)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_images(folder / "dataset", examples, seed=0)
        config = PipelineConfig.offline()
        config.retrieval.index_path = folder / "index"
        total = build_index_from_directory(folder / "dataset", folder / "index", config=config).total
        fitted = [seconds_to_ready(folder / "index") for _ in range(max(runs // 5, 1))]
        calibrate_index(folder / "index", config)
        seconds_to_ready(folder / "index")  # the files are in memory then
        calibrated = [seconds_to_ready(folder / "index") for _ in range(runs)]
    place = where("fastapi", "uvicorn")

    def row(what: str, seconds: list[float], goal: float | None) -> Row:
        against = f"{total:,} examples, the encoder `descriptor` has nothing to load; median of {len(seconds)}"
        value = round(statistics.median(seconds), 2)
        return Row(
            f"serve: start until ready, {what}",
            value,
            "s",
            goal,
            "lower",
            against,
            place,
            COMMAND,
            value_range(seconds),
        )

    return [row("calibrated", calibrated, 1.5), row("not calibrated: the rules are fitted first", fitted, None)]


def rows(quick: bool = False) -> list[Row]:
    """Count and measure in about six minutes; with `quick` in two."""
    return [*start_rows(quick), *count_rows(quick)]


if __name__ == "__main__":
    run_part("serving_checks", __doc__, rows)
