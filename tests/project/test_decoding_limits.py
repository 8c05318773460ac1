"""Files are decoded in one place, with the limits: no other file opens an image, none leaves out the limits."""

import ast
import re

from tests.helpers.paths import ROOT
from tests.helpers.syntax import mentioning, nodes

PACKAGE = ROOT / "lmm_classifier"
DECODERS = (PACKAGE / "data" / "images.py", PACKAGE / "data" / "decoding" / "bit_depth.py")
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
READERS = ("lmm_classifier.data.images", "lmm_classifier.data.file_content")
OPENING = ("open", "frombuffer")
LIMITS_AT = {"read_image": 1, "read_if_new": 1, "read_bytes": 1, "read_images": 1, "decode": 1, "decode_in_process": 1}


def calls(path, names):
    for node in nodes(path):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in names:
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            yield owner, name, node


def opened(path):
    """Return where a file opens images."""
    return [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for owner, _, node in calls(path, OPENING)
        if owner in ("Image", "PIL.Image")
    ]


def test_only_one_file_decodes():
    """`Image.open` and its kin are called in `data/images.py`, and where that reads the lower bytes of 16 bits."""
    opening = mentioning(rf"Image\.({'|'.join(OPENING)})", MODULES)
    assert [place for path in opening if path not in DECODERS for place in opened(path)] == []
    assert all(opened(path) for path in DECODERS)


def test_each_reading_passes_the_limits():
    """The defaults are for users of the library; the package itself always passes the configured limits."""
    without_limits, checked = [], 0
    for path in mentioning("|".join(map(re.escape, READERS)), MODULES):
        imported = {
            alias.name
            for node in nodes(path)
            if isinstance(node, ast.ImportFrom) and node.module in READERS
            for alias in node.names
        }
        for _, name, node in calls(path, imported & LIMITS_AT.keys()):
            checked += 1
            if len(node.args) <= LIMITS_AT[name]:
                without_limits.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {name}")
    assert without_limits == []
    assert checked
