"""A plan as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmm_classifier.distributed.capacity.limits import CapacityLimit
    from lmm_classifier.distributed.capacity.plan import CapacityPlan

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def plan_lines(plan: CapacityPlan) -> Iterator[str]:
    """Yield the lines: the conclusion, quantities by subject, limits, costs and assumptions."""
    work = plan.workload
    encoding = f"{work.encoder} on {work.gpus} {work.gpu}"
    yield f"{work.images:,} images, {work.labels:,} labels; {work.classified:,} new images; {encoding}"
    if plan.fits_one_machine:
        yield "One machine is enough: build and classify without a cluster."
    for subject, quantities in groupby(plan.quantities, lambda quantity: quantity.subject):
        yield f"\n{subject}"
        yield from _aligned([(amount(entry.value, entry.unit), entry.meaning) for entry in quantities])
    yield "\nwhat saturates"
    yield from _aligned([_limit_row(limit) for limit in plan.limits])
    if plan.costs:
        yield "\ncost, in the currency of the prices"
        yield from _aligned([(f"{cost.value:,.2f}{' a month' * cost.per_month}", cost.name) for cost in plan.costs])
    yield "\nassumptions, each set by --assume NAME=NUMBER"
    for name, value, about in plan.assumptions.items():
        number = f"{value:,.6g} {about['unit']}".rstrip()
        yield f"  {name} = {number}: {about['meaning']} ({about['source']})"


def _limit_row(limit: CapacityLimit) -> tuple[str, str]:
    is_size = limit.unit == "bytes"
    need = f"{amount(limit.needed, 'bytes' if is_size else '')} of {amount(limit.available, limit.unit)}"
    return "REACHED" if limit.is_reached else "free", f"{limit.name}, {need}" + f": {limit.remedy}" * limit.is_reached


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(first) for first, _ in rows)
    return [f"  {first:>{width}}  {second}" for first, second in rows]


def amount(value: float, unit: str) -> str:
    """Return a number with its unit: three digits, bytes with a prefix of powers of 1,000.

    Example:
        >>> from lmm_classifier.cli.plan_output import amount
        >>> amount(4.608e12, "bytes"), amount(244141, ""), amount(452.6, "GPU hours")
        ('4.61 TB', '244,000', '453 GPU hours')
    """
    if unit == "bytes":
        scale, prefix = next((pair for pair in _PREFIXES if value >= pair[0]), (1.0, ""))
        return f"{value / scale:.3g} {prefix}B"
    rounded = float(f"{value:.3g}")
    number = f"{rounded:,.0f}" if 100 <= rounded < 1e15 else f"{rounded:.3g}"
    return f"{number} {unit}".rstrip()
