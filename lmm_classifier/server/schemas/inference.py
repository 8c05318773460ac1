"""The shapes of the Open Inference Protocol, as JSON Schema."""

from __future__ import annotations

from typing import Any

from lmm_classifier.server.schemas.parts import COUNT, TEXT, YES, list_of, object_of

_TENSOR = object_of({"name": TEXT, "datatype": TEXT, "shape": list_of(COUNT)})
_OUTPUT = object_of(
    {
        "name": {"enum": ["label", "score", "reason"]},
        "datatype": {"enum": ["BYTES", "FP64"]},
        "shape": list_of(COUNT),
        "data": list_of({"type": ["string", "number"]}),
    }
)
INFERENCE_SCHEMAS: dict[str, Any] = {
    "InferenceServer": object_of({"name": TEXT, "version": TEXT, "extensions": list_of(TEXT)}),
    "InferenceLive": object_of({"live": YES}),
    "InferenceReady": object_of({"ready": YES}),
    "InferenceModel": object_of(
        {
            "name": TEXT,
            "versions": list_of(TEXT),
            "platform": TEXT,
            "inputs": list_of(_TENSOR),
            "outputs": list_of(_TENSOR),
        }
    ),
    "InferenceResponse": object_of(
        {"model_name": TEXT, "model_version": TEXT, "id": TEXT, "outputs": list_of(_OUTPUT)}, "id"
    ),
}
