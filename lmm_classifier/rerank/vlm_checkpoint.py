"""Vision-language checkpoints: what their configuration says, and how model and processor are loaded."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

from lmm_classifier.core.checkpoints import mismatched_weight, quantization, quiet_transformers
from lmm_classifier.core.devices import choose_device, choose_dtype
from lmm_classifier.core.errors import MissingExtraError, RerankerError
from lmm_classifier.core.optional_imports import import_attribute, import_optional, is_installed
from lmm_classifier.core.text import first_line

EXTRA = "vlm"
_NO_TOWERS = "the vision_config of its config.json has no usable patch_size and spatial_merge_size"
# the package that transformers needs for a form of quantized weights, and the name by which it is imported
_QUANTIZED = {
    "awq": {"gptqmodel": "gptqmodel"},
    "gptq": {"optimum": "optimum", "gptqmodel": "gptqmodel"},
    "bitsandbytes": {"bitsandbytes": "bitsandbytes"},
    "compressed-tensors": {"compressed-tensors": "compressed_tensors"},
    "torchao": {"torchao": "torchao"},
    "hqq": {"hqq": "hqq"},
    "quanto": {"optimum-quanto": "optimum.quanto"},
}


def check_type(config: dict[str, Any]) -> None:
    """Check that a `config.json` is one of a vision-language model.

    Raises:
        ValueError: it names no type, or has no vision tower.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise ValueError(f"its model_type is {model_type!r}, expected the name of a vision-language model")
    towers = [name for name in config if name.endswith("_config") and name.startswith(("vision", "vit", "vq"))]
    if not towers:
        raise ValueError(f"its model_type is {model_type!r}, and its config.json has no vision_config")


def token_side(config: dict[str, Any]) -> int | None:
    """Return the side in pixels of a visual token; None where images become tiles of a fixed size.

    Raises:
        ValueError: the sizes are no usable numbers.
    """
    vision = config.get("vision_config", {})
    if not isinstance(vision, dict):
        raise ValueError(_NO_TOWERS)
    if "spatial_merge_size" not in vision and not str(config.get("model_type")).startswith("qwen"):
        return None
    sizes = [vision.get("patch_size", 14), vision.get("spatial_merge_size", 2)]
    if not all(type(size) is int and 1 <= size <= 1024 for size in sizes):
        raise ValueError(_NO_TOWERS)
    return math.prod(sizes)


def require_quantization(config: dict[str, Any]) -> None:
    """Check that what the weights of a checkpoint need is installed.

    Raises:
        MissingExtraError: a library is missing; the message names it.
    """
    method = quantization(config)
    missing = [package for package, name in _QUANTIZED.get(method or "", {}).items() if not is_installed(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingExtraError(
            f"The weights of the checkpoint are quantized ({method}), and {' and '.join(missing)} to load them {verb} "
            f"not installed: pip install {' '.join(missing)}. Or set rerank.model_name to a checkpoint in bfloat16."
        )


def open_device(torch: Any, name: str) -> str:
    """Return the device called `name`, or the best one for "auto".

    Raises:
        RerankerError: this torch cannot compute on it.
    """
    device = choose_device(torch, name)
    try:
        torch.empty(0, device=device)
    except Exception as error:
        raise RerankerError(
            f"rerank.model.device is {name!r}, and PyTorch {torch.__version__} cannot use it: {first_line(error)}. Set "
            "rerank.model.device: auto, or install a PyTorch that was built for this device."
        ) from error
    return device


def load_model(torch: Any, folder: Path, config: dict[str, Any], device: str, dtype: str) -> Any:
    """Return the model of a checkpoint, in evaluation mode.

    Weights go straight to the device, tensor by tensor, so that a model need not fit in the memory of the host.

    Raises:
        Exception: whatever transformers raises; also ValueError if the file has not exactly the weights of the model.
    """
    keeps_own = dtype == "auto" and quantization(config) is not None  # the type that its quantization was made for
    with quiet_transformers(EXTRA):
        auto = import_attribute("transformers", "AutoModelForImageTextToText", EXTRA)
        model, report = auto.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto" if keeps_own else choose_dtype(torch, dtype, device),
            device_map={"": device},
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # else the error does not say which
        )
    if wrong := mismatched_weight(report):
        raise ValueError(wrong)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ValueError(f"its weights lack {len(missing)} tensors of the model, such as {missing[0]}")
    return model.eval()


def load_processor(folder: Path, model_type: str) -> Any:
    """Return the processor of a checkpoint, which takes texts and images.

    Images are processed by Pillow, with the same result where torchvision is installed and where it is not. Videos are
    left out: their part of a processor needs torchvision.
    """
    mapping = import_attribute("transformers.models.auto.processing_auto", "PROCESSOR_MAPPING_NAMES", EXTRA)
    if not (name := mapping.get(model_type)):
        raise ValueError(f"transformers has no processor for models of type {model_type!r}")
    kind = without_video(getattr(import_optional("transformers", EXTRA), name))
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    video = inspect.signature(kind.__init__).parameters.get("video_processor")
    if video is not None and video.default is video.empty:
        options["video_processor"] = None
    with quiet_transformers(EXTRA):
        try:
            processor = kind.from_pretrained(folder, backend="pil", **options)
        except ImportError:
            if not is_installed("torchvision"):
                raise
            processor = kind.from_pretrained(folder, **options)  # of the few types that Pillow cannot process
    processor.tokenizer.padding_side = "right"
    return processor


def without_video(kind: Any) -> Any:
    """Return a class of processors without their video part."""
    if "video_processor" not in kind.get_attributes():
        return kind

    class ImageProcessor(kind):  # type: ignore[misc]
        """The processor of texts and images."""

        @classmethod
        def get_attributes(cls) -> list[str]:
            """Return the names of the parts that are loaded."""
            return [name for name in super().get_attributes() if name != "video_processor"]

    ImageProcessor.__name__ = kind.__name__  # transformers compares it with the name in the files
    return ImageProcessor
