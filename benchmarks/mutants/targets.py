"""The modules that decide, and the tests that are about each."""

from __future__ import annotations

from pathlib import Path

ROOMS = ("calibration", "neighbors", "pipeline/retrieval")
MODULES = (
    "pipeline/policy.py",
    "pipeline/thresholds.py",
    "rerank/aggregation.py",
    "rerank/answer_formats.py",
    "rerank/benefit.py",
    "rerank/chat_reply.py",
    "rerank/circuit_breaker.py",
    "rerank/fusion.py",
    "rerank/gating.py",
    "rerank/pacing.py",
    "rerank/requested_wait.py",
    "rerank/responses.py",
    "index/staleness.py",
    "index/build/corrections.py",
    "index/build/sync_plan.py",
    "evaluation/duplicates.py",
    "evaluation/label_noise.py",
)
PACKAGE = "lmm_classifier"


def targets(root: Path) -> list[str]:
    """Return the paths of the modules, relative to the checkout."""
    of_rooms = (path for room in ROOMS for path in sorted((root / PACKAGE / room).rglob("*.py")))
    return [*(str(path.relative_to(root)) for path in of_rooms), *(f"{PACKAGE}/{module}" for module in MODULES)]


def tests_of(root: Path, path: str) -> list[str]:
    """Return the test files that are about a module: its own first, then those of its room where all of that counts."""
    room = Path("tests") / Path(path).parent.relative_to(PACKAGE)
    own = room / f"test_{Path(path).name}"
    is_whole = any(room.is_relative_to(Path("tests") / whole) for whole in ROOMS)
    of_room = sorted((root / room).glob("test_*.py")) if is_whole else []
    others = [str(test.relative_to(root)) for test in of_room if test.name != own.name]
    return [str(own), *others] if (root / own).is_file() else others
