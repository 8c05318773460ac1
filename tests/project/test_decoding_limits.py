"""Files are decoded in one place, with the limits: no other file opens an image, none leaves out the limits."""

import ast

import pytest

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "lmm_classifier"
DECODERS = (PACKAGE / "data" / "images.py", PACKAGE / "data" / "decoding" / "bit_depth.py")
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
READERS = ("lmm_classifier.data.images", "lmm_classifier.data.file_content")
OPENING = ("open", "frombuffer")
LIMITS_AT = {"read_image": 1, "read_if_new": 1, "read_bytes": 1, "read_images": 1, "decode": 1, "decode_in_process": 1}


def calls(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            yield owner, name, node


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_one_file_decodes(path):
    """`Image.open` and its kin are called in `data/images.py`, and where that reads the lower bytes of 16 bits."""
    if path in DECODERS:
        return
    opened = [name for owner, name, _ in calls(path) if owner in ("Image", "PIL.Image") and name in OPENING]
    assert opened == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_reading_passes_the_limits(path):
    """The defaults are for users of the library; the package itself always passes the configured limits."""
    imported = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in READERS
        for alias in node.names
    }
    for _, name, node in calls(path):
        if name in LIMITS_AT and name in imported:
            assert len(node.args) > LIMITS_AT[name], f"{path.name}:{node.lineno} {name} gets no limits"
