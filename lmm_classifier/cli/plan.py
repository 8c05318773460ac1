"""The command `plan`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import JsonFlag

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig

_PRICE = "[default: none, no cost is shown]"


def whole_number(text: str) -> int:
    """Return a whole number that is written in digits, with `_` or `,` between them, or as `1e9`."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        value = float("nan")
    if not value == value // 1:  # also where it is no number
        raise typer.BadParameter(f"Expected a whole number, such as 250000 or 1e9; got {text!r}.")
    return int(value)


def plan(
    images: Annotated[
        int, typer.Option(metavar="N", parser=whole_number, help="Labeled images of the index, such as 1e9.")
    ],
    labels: Annotated[int, typer.Option(metavar="N", parser=whole_number, help="Labels of the index.")],
    new_images: Annotated[
        int | None,
        typer.Option(metavar="N", parser=whole_number, help="Images to classify. [default: as many as --images]"),
    ] = None,
    gpu: Annotated[str, typer.Option(metavar="NAME", help="GPU that encodes, such as h100, a100, l4.")] = "h100",
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that encode at once.")] = 1,
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="Encoder, by its name on the hub.")
    ] = "google/siglip-so400m-patch14-384",
    gpu_hour: Annotated[float | None, typer.Option(help=f"Price of an hour of a GPU. {_PRICE}")] = None,
    core_hour: Annotated[float | None, typer.Option(help=f"Price of an hour of a core. {_PRICE}")] = None,
    gb_month: Annotated[float | None, typer.Option(help=f"Price of a GB for a month. {_PRICE}")] = None,
    thousand_reads: Annotated[float | None, typer.Option(help=f"Price of 1,000 reads (GET). {_PRICE}")] = None,
    thousand_writes: Annotated[float | None, typer.Option(help=f"Price of 1,000 writes (PUT). {_PRICE}")] = None,
    assume: Annotated[
        list[str] | None, typer.Option(metavar="NAME=NUMBER", help="Change an assumption; they are listed at the end.")
    ] = None,
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,  # noqa: ARG001 - the logging of all commands is set up by it
) -> None:
    """Estimate what a large collection needs: bytes, GPU hours, and cost.

    Nothing is measured or opened. Each number is a formula of the assumptions that are listed, and no price is built
    in. It says what saturates, and whether one machine is enough.
    """
    from lmm_classifier.cli.plan_output import plan_lines
    from lmm_classifier.distributed.capacity.assumptions import CapacityAssumptions
    from lmm_classifier.distributed.capacity.plan import plan_capacity
    from lmm_classifier.distributed.capacity.workload import CapacityPrices, Workload

    workload = Workload(images, labels, new_images, gpu, gpus, encoder)
    prices = CapacityPrices(gpu_hour, core_hour, gb_month, thousand_reads, thousand_writes)
    capacity = plan_capacity(workload, CapacityAssumptions().changed(_numbers(assume or [])), prices)
    text = json.dumps(capacity.to_dict()) if as_json else "\n".join(plan_lines(capacity))
    sys.stdout.write(text + "\n")


def _numbers(assumed: list[str]) -> dict[str, float]:
    numbers = {}
    for text in assumed:
        name, equals, value = text.partition("=")
        try:
            numbers[name.strip()] = float(value)
        except ValueError:
            raise typer.BadParameter(f"Expected --assume NAME=NUMBER; got {text!r}.") from None
        if not equals:
            raise typer.BadParameter(f"Expected --assume NAME=NUMBER; got {text!r}.")
    return numbers
