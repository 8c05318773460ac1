"""The report in words and in values."""

import json
import math

from lmm_classifier.discovery.drift.report import DriftReport, ImageEvidence


def test_an_alarm_names_the_images():
    """How they differ, since when, and which they are; any evidence is JSON."""
    image = ImageEvidence("new/1.jpg", -3.25, 0.0125, 7.5)
    report = DriftReport(500, 2000.0, 2001.0, 431, 0.31, (image,))
    assert report.lines == [
        "drift: the images changed, they are less familiar; alarm at image 431 of 500 (evidence 1e+869, highest "
        "1e+869, alarm from 100; mean p 0.31, 0.50 is usual)",
        "images with the most evidence:",
        "  new/1.jpg: familiarity -3.2, p 0.013",
    ]
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["is_alarm"]
    assert math.isclose(values["log10_evidence"], 2000 / math.log(10))
    assert values["log10_alarm"] == 2
    again = DriftReport.from_dict(values)
    assert (again.lines, again.shown) == (report.lines, report.shown)
    assert values["evidence"] == [{"name": "new/1.jpg", "familiarity": -3.25, "p": 0.0125, "factor": 7.5}]


def test_without_an_alarm_no_image_is_named():
    """Single images are always evidence of something."""
    report = DriftReport(20, math.log(1.5), math.log(2), None, 0.52, (ImageEvidence("a", 0, 0.1, 2),))
    assert report.lines == [
        "drift: no change found in 20 images (evidence 1.5, highest 2, alarm from 100; mean p 0.52, 0.50 is usual)"
    ]
    assert report.direction == "more familiar"
