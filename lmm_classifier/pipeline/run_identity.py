"""What identifies a run of a classifier: its settings with the encoder, and the state of its index.

Results of runs with the same identity agree. The identity is short, so that each stored result can carry it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from numpy.typing import NDArray

from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.retrieval.retriever import Retriever

# these change the speed or the place of a run, not its answers
_NO_MATTER: dict[str, Any] = {
    "logging": True,
    "hierarchy": True,  # its content counts instead
    "encoder": True,  # its fingerprint counts instead
    "images": True,
    "server": True,
    "retrieval": {"index_path": True},
    "rerank": {
        "server": True,
        "cache": True,
        "cache_entries": True,
        "model": {"cache_dir", "allow_download", "device", "batch_size"},
    },
}


def run_identity(classifier: HybridClassifier, leave_out_identical: bool = False) -> str:
    """Return 8 hexadecimal digits for the settings, a dash, and 8 for the index."""
    settings = json.loads(classifier.config.model_dump_json(exclude=_NO_MATTER))
    spaces = [encoder.fingerprint.space_id for encoder in classifier.encoders]
    contents = classifier.index.contents
    state = sha256(f"{contents.manifest.to_json()} {contents.version}".encode(errors="surrogatepass"))
    for name, array in sorted((contents.calibration or {}).items()):
        state.update(name.encode())
        state.update(array.tobytes())
    hierarchy = classifier.hierarchy
    of_settings = [settings, spaces, leave_out_identical, *([hierarchy.to_yaml()] if hierarchy else [])]
    flow = classifier._current_flow()
    if flow.adaptations:
        of_settings.append([*flow.adaptations])
        for part in _adapted(flow.retriever):
            state.update(part.tobytes())
    return f"{_digest(json.dumps(of_settings, sort_keys=True))}-{state.hexdigest()[:8]}"


def _adapted(retriever: Retriever) -> Iterator[NDArray[Any]]:
    """Yield the arrays that new images changed, or may have."""
    if retriever.priors is not None:
        yield retriever.priors.log_factors
    if retriever.predictions is not None:
        for encoder in retriever.encoders:
            yield encoder.fit.rule.metric.projection


def same_settings(first: str, second: str) -> bool:
    """Return whether two runs had the same settings and encoder."""
    return first.partition("-")[0] == second.partition("-")[0]


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
