"""What the program answers stays what it was: vectors of every encoder, and the JSON of every command."""

import json
import math
import os

import pytest

from tests.helpers.frozen_outputs import FROZEN, outputs, shortened

_TOLERANCE = 2e-4  # of vectors and scores: another processor sums in another order


def same(found, frozen, place=""):
    """Yield every place where two values differ by more than rounding."""
    if isinstance(frozen, dict) and isinstance(found, dict):
        for key in sorted({*found, *frozen}):
            yield from same(found.get(key), frozen.get(key), f"{place}.{key}")
    elif isinstance(frozen, list) and isinstance(found, list) and len(found) == len(frozen):
        for number, pair in enumerate(zip(found, frozen)):
            yield from same(*pair, f"{place}[{number}]")
    elif isinstance(frozen, float) and isinstance(found, float | int):
        if not math.isclose(found, frozen, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
            yield f"{place}: {found} was {frozen}"
    elif found != frozen:
        yield f"{place}: {found!r} was {frozen!r}"


def test_outputs_are_what_they_were(tmp_path, tiny_encoder, exported):
    """A change of code that means to change no answer changes none; otherwise `FREEZE=1` writes the new ones."""
    pytest.importorskip("openvino")
    encoders = {"descriptor": ("descriptor", "x")}
    encoders |= {kind: ("siglip", str(tiny_encoder(kind))) for kind in ("siglip", "siglip2", "clip")}
    encoders |= {
        f"{kind}-{form}": (form, str(exported(kind, form)))
        for kind in ("siglip", "clip")
        for form in ("onnx", "openvino")
    }
    found = json.loads(json.dumps(shortened(outputs(tmp_path, encoders))))

    if os.environ.get("FREEZE"):
        FROZEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert list(same(found, json.loads(FROZEN.read_text(encoding="utf-8")))) == []
