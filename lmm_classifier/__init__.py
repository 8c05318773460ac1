"""Classify pictures by a folder of labelled ones: no training, an honest "unknown", a second look where it pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.datatypes import Candidate, Classification, Decision, Example, Neighbor
    from lmm_classifier.errors import LmmClassifierError
    from lmm_classifier.index_builder import build_index_from_directory
    from lmm_classifier.index_editor import IndexEditor
    from lmm_classifier.logging_config import configure_logging
    from lmm_classifier.pipeline import HybridClassifier
    from lmm_classifier.reports import BuildReport, EditReport

__version__ = "0.1.0"

# name -> the room it lives in; resolved on first use, so that importing the package costs nothing
# and `python -m lmm_classifier.index_builder` does not find itself imported already
_HOMES = {
    "BuildReport": "reports",
    "Candidate": "datatypes",
    "Classification": "datatypes",
    "Decision": "datatypes",
    "EditReport": "reports",
    "Example": "datatypes",
    "HybridClassifier": "pipeline",
    "IndexEditor": "index_editor",
    "LmmClassifierError": "errors",
    "Neighbor": "datatypes",
    "PipelineConfig": "config",
    "build_index_from_directory": "index_builder",
    "configure_logging": "logging_config",
}

__all__ = [
    "BuildReport",
    "Candidate",
    "Classification",
    "Decision",
    "EditReport",
    "Example",
    "HybridClassifier",
    "IndexEditor",
    "LmmClassifierError",
    "Neighbor",
    "PipelineConfig",
    "build_index_from_directory",
    "configure_logging",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
