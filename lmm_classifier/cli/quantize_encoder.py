"""The command `quantize-encoder`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lmm_classifier.cli.given_configuration import given_options
from lmm_classifier.cli.options import IndexArgument
from lmm_classifier.core.text import quote_for_shell

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.evaluation.encoder_quantization import QuantizationReport


class Form(StrEnum):
    """The form of an 8-bit encoder."""

    OPENVINO = "openvino"
    ONNX = "onnx"


_FORMS: dict[Form | None, Literal["openvino", "onnx"]] = {Form.OPENVINO: "openvino", Form.ONNX: "onnx"}


def quantize_encoder(
    index: IndexArgument = None,
    output: Annotated[Path | None, typer.Option(help="New folder to write. [default: INDEX-8bit]")] = None,
    form: Annotated[Form | None, typer.Option(help="Form to write. [default: that of the encoder]")] = None,
    keep_anyway: Annotated[bool, typer.Option("--keep-anyway", help="Keep it whatever the figures are.")] = False,
    *,
    config: PipelineConfig,
) -> int:
    """Make a faster 8-bit encoder from the encoder and the images of an index.

    The encoder is lite, onnx or openvino. The images of the index show which ranges its numbers have. The 8-bit encoder
    is kept if the leave-one-out accuracy stays within one standard error, and 99.5% of the answers stay the same. First
    all layers get 8 bits. If that is not good enough, the first 15% stay as they are.

    Exit codes: 0 kept, 1 not kept, or failed.
    """
    from lmm_classifier.cli.console import command_progress, escape_for_terminal, print_error
    from lmm_classifier.core.index_location import name_of
    from lmm_classifier.evaluation.encoder_quantization import quantize_encoder as quantize

    path = index or config.retrieval.index_path
    output = output or Path(f"{name_of(path).removesuffix('.npz').removesuffix('.lance')}-8bit")
    with command_progress() as show:
        report = quantize(path, output, config, _FORMS.get(form), keep_anyway=keep_anyway, progress=show)
    sys.stdout.write("\n".join(escape_for_terminal(line) for line in _lines(report)) + "\n")
    if report.kept:
        return 0
    print_error(
        f"The 8-bit encoder was not kept: {' and '.join(report.faults)}. Use the encoder as it is, or add "
        "--keep-anyway."
    )
    return 1


def _weak_evidence(report: QuantizationReport) -> list[str]:
    """Warn where so few images cannot show that the answers stay the same."""
    from lmm_classifier.evaluation.encoder_quantization import LEAST_AGREEMENT

    if report.may_differ <= 1 - LEAST_AGREEMENT:
        return []
    return [
        f"weak evidence: even if no answer of {report.images:,} differs, {100 * report.may_differ:.1f}% of new ones "
        "may. Use an index with more images"
    ]


def _other_lines(other: QuantizationReport) -> list[str]:
    """Say why another way of making the encoder was not taken."""
    reasons = " and ".join(other.faults) or "another way has more equal answers"
    return [f"tried with 8 bits in {other.layers.quantized} of {other.layers.total} layers, not taken: {reasons}"]


def _lines(report: QuantizationReport) -> list[str]:
    lines = [
        f"{report.images:,} images, held out one at a time",
        *_weak_evidence(report),
        *(line for other in report.others for line in _other_lines(other)),
        f"layers with 8 bits: {report.layers.quantized} of {report.layers.total}",
        f"accuracy: {100 * report.accuracy_8bit:.1f}% with 8 bits, {100 * report.accuracy:.1f}% without "
        f"(standard error {100 * report.standard_error:.1f} points)",
        f"same answers: {100 * report.agreement:.1f}% ({report.changed:,} of {report.images:,} differ)",
        f"cosine similarity of the vectors: mean {report.mean_cosine:.4f}, least {report.least_cosine:.4f}",
        f"encoding: {report.speedup:.2f} times as fast, without reading images",
        f"size: {report.megabytes_8bit:,.1f} MB instead of {report.megabytes:,.1f} MB",
    ]
    if report.kept:
        model = f"{report.setting}.model={report.output}"
        options = [given_options(), f"--set {report.setting}.backend={report.form}", f"--set {quote_for_shell(model)}"]
        lines.append(f"to use it, build a new index with {' '.join(filter(None, options))}")
    return lines
