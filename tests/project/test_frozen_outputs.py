"""What the program answers stays what it was: vectors of every encoder, and the JSON of every command."""

import json
import math
import os

import pytest

from tests.helpers.frozen_outputs import FROZEN, commands, vectors

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


def compare(name, found):
    """Compare one part with the file; with `FREEZE=1`, first write it there."""
    frozen, found = json.loads(FROZEN.read_text(encoding="utf-8")), json.loads(json.dumps(found))
    if os.environ.get("FREEZE"):
        frozen[name] = {**frozen.get(name, {}), **found} if name == "vectors" else found
        FROZEN.write_text(json.dumps(frozen, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    expected = {key: frozen[name].get(key) for key in found} if name == "vectors" else frozen[name]
    assert list(same(found, expected, name)) == []


def test_answers_are_what_they_were(tmp_path):
    """A change of code that means to change no answer changes none; otherwise `FREEZE=1` writes the new ones."""
    found = commands(tmp_path)
    for name, answer in found.items():
        compare(name, answer)
    assert {*found, "vectors"} == set(json.loads(FROZEN.read_text(encoding="utf-8")))


ENCODERS = ["descriptor", "siglip", "siglip2", "clip", "siglip-openvino", "clip-openvino", "siglip-onnx", "clip-onnx"]


def test_vectors_of_all_encoders_are_frozen():
    """Those that are listed, and no others."""
    assert set(json.loads(FROZEN.read_text(encoding="utf-8"))["vectors"]) == set(ENCODERS)


@pytest.mark.parametrize(
    "name", [*ENCODERS[:5], *(pytest.param(name, marks=pytest.mark.long) for name in ENCODERS[5:])]
)
def test_vectors_are_what_they_were(request, name):
    """Of each encoder; those of the other exports need seconds to be exported."""
    kind, _, form = name.partition("-")
    if kind == "descriptor":
        found = vectors("descriptor", "x")
    elif form:
        pytest.importorskip("openvino")
        found = vectors(form, str(request.getfixturevalue("exported")(kind, form)))
    else:
        found = vectors("siglip", str(request.getfixturevalue("tiny_encoder")(kind)))
    compare("vectors", {name: found})
