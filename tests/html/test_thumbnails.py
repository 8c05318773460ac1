"""One image never costs the page: thin, vanished, damaged, refused or costly, it gets a thumbnail or a reason."""

import base64
import os
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.fault_injection.costly_files import flat, save, scans
from lmm_classifier import (
    HybridClassifier,
    LabeledResult,
    audit_index,
    build_index_from_directory,
    evaluate_folder,
    write_audit_page,
    write_contact_sheet,
    write_evaluation_page,
)
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import NOWHERE
from lmm_classifier.evaluation.duplicates import Duplicates
from lmm_classifier.evaluation.findings import Outlier
from lmm_classifier.html.cards import short_name
from lmm_classifier.html.thumbnails import MISSING, Thumbnails, embed_image
from tests.helpers.datasets import draw_dataset, offline_config
from tests.html.html_page import assert_harmless

SIZES = [(3000, 1), (1, 3000), (60_000, 1), (1, 60_000), (1, 1), (2, 1), (127, 3), (129, 128)]
SIZES += [(65_000, 60), pytest.param((65_000, 900), marks=pytest.mark.long)]


def pixels(url):
    return Image.open(BytesIO(base64.b64decode(url.partition(",")[2])))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_images_of_any_shape(tmp_path, size, kind):
    """No side of a thumbnail is zero, and the longer one has 128 pixels."""
    path = tmp_path / "x"
    Image.new("RGB", size, "red").save(path, kind, compress_level=1)
    card = embed_image(path, "x", ImageLimits())
    assert (card.error, max(card.width, card.height)) == ("", 128)
    assert pixels(card.url).size == (card.width, card.height)
    thumbnails = Thumbnails(lambda _: path, ImageLimits())
    assert thumbnails.css_class("x") == "n0"
    assert pixels(thumbnails.urls()[0][1]).size == (64, 64)


UNUSABLE = {
    "vanished": None,
    "empty": b"",
    "damaged": b"\xff\xd8\xff\xe0 nonsense",
    "too many pixels": save(flat(2_000_000), "PNG"),
    "too costly": scans(250_000, 9000),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_images_that_cannot_be_shown(tmp_path, name):
    """The card has the reason, and a neighbor is marked as missing."""
    path = tmp_path / "x"
    if UNUSABLE[name] is not None:
        path.write_bytes(UNUSABLE[name])
    limits = ImageLimits(max_pixels=1_000_000)
    card = embed_image(path, "x", limits)
    assert card.url == ""
    assert re.search(r"no such file|empty|damaged|at most 1,000,000|images\.max_seconds", card.error)
    assert Thumbnails(lambda _: path, limits).css_class("x") == MISSING


def noise(size, seed):
    """Draw the same noise each time: by chance, other noise may look like copies."""
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8))


def spoil(root):
    """Put images of any shape and of unusual names into the dataset; spoil others after they were indexed."""
    for number, size in enumerate(SIZES[:4]):
        noise(size, number).convert("RGB").save(root / "stripes" / f"thin{number}.png")
    name = os.fsdecode(b"caf\xe9 <b>\n.png")
    noise((40, 3), 4).save(root / "gingham" / name)
    yield
    (root / "stripes" / "00.png").unlink()
    (root / "stripes" / "01.png").write_bytes(b"\xff\xd8\xff\xe0 nonsense")
    (root / "gingham" / "00.png").write_bytes(UNUSABLE["too costly"])
    (root / "gingham" / "01.png").unlink()
    (root / "gingham" / "01.png").mkdir()


def test_what_has_no_image_says_so():
    """A vector has none; a device that is given as an image is refused as such."""
    assert embed_image(NOWHERE / "id 3", "3", ImageLimits()).error == "made from a vector, no image"
    assert short_name(NOWHERE / "id 3") == "id 3"
    assert "not a regular file" in embed_image(Path(os.devnull), "null", ImageLimits()).error


@pytest.mark.long
def test_every_page_shows_every_image_or_the_reason(tmp_path):
    """The contact sheet, the evaluation and the audit are written with a placeholder where an image cannot be shown."""
    root = draw_dataset(tmp_path / "dataset", ["stripes", "gingham"], 4, size=40)
    stages = spoil(root)
    next(stages)
    build_index_from_directory(root, tmp_path / "index", config=offline_config(tmp_path / "index"))
    classifier = HybridClassifier(offline_config(tmp_path / "index"))
    audit = audit_index(tmp_path / "index", classifier.config)
    evaluation = evaluate_folder(root, classifier, leave_out_identical=True)
    next(stages, None)

    paths = [example.path for example in classifier.index.examples]
    entries = [LabeledResult(root / path, result, None) for path, result in zip(paths, evaluation_results(evaluation))]
    write_contact_sheet(tmp_path / "sheet.html", "T", [], entries, root, classifier.config.images.limits)
    everything = Duplicates(tuple(paths), ("stripes",) * len(paths), False, 0.99)
    outliers = [Outlier(path, "stripes", 0.1, ()) for path in paths]
    audit = replace(audit, outliers=outliers, duplicates=[everything])
    write_audit_page(tmp_path / "audit.html", audit, tmp_path / "index", classifier.config.images.limits)
    write_evaluation_page(tmp_path / "evaluation.html", evaluation, classifier)
    for name in ("sheet", "audit", "evaluation"):
        assert_harmless((tmp_path / f"{name}.html").read_text(encoding="utf-8"))
    text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert text.count("<article>") == len(paths)
    assert text.count('<p class="placeholder">') == 4
    assert "images.max_seconds" in text


def evaluation_results(evaluation):
    return [entry.result for entry in (*evaluation.known, *evaluation.unknowns)]
