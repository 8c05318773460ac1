"""The growth to a billion images on paper, and what a plan says of it."""

import json

import pytest

from lmm_classifier.cli.plan_output import amount
from lmm_classifier.distributed.capacity.assumptions import CapacityAssumptions
from lmm_classifier.distributed.capacity.plan import plan_capacity
from lmm_classifier.distributed.capacity.workload import CapacityPrices, Workload
from tests.helpers.paths import ROOT

BILLION = Workload(images=10**9, labels=10**5, gpus=64)
# what was assumed when the growth was computed by hand, before any of it was built
PAPER = CapacityAssumptions(
    gpu_tflops=450.0,
    mean_number_bytes=4.0,
    chunk_rows=4096.0,
    list_rows=7630.0,  # 131,072 lists of 10^9 rows
    probed_lists=64.0,
    rescored_rows=500.0,
    labels_read=8.0,
    label_rows=4096.0,
)
HALF = PAPER.changed({"vector_number_bytes": 2.0})
PRICES = CapacityPrices(gpu_hour=2.5, gb_month=0.023, thousand_reads=0.0004, thousand_writes=0.005)


@pytest.mark.parametrize(
    ("quantity", "at_a_million", "at_a_billion"),
    [
        ("image_bytes", 0.3e12, 300e12),
        ("images_per_gpu_second", 672, 672),
        ("encoding_gpu_hours", 25 / 60, 413),
        ("encoding_hours", 25 / 60 / 64, 6.5),
        ("reads_per_second", 43_000, 43_000),
        ("vector_bytes", 4.6e9, 4.6e12),
        ("other_bytes", 0.11e9, 110e9),
        ("chunks", 245, 244_000),
        ("graph_bytes", 1.3e9, 1.3e12),
        ("graph_core_hours", 0.059, 59),
        ("pq_bytes", 0.152e9, 152e9),
        ("rabitq_bytes", 0.16e9, 160e9),
        ("lists", 131, 131_072),
        ("centroid_bytes", 0.6e6, 0.6e9),
        ("scanned_bytes", 74e6, 74e6),
        ("scan_ms", 10, 10),
        ("rescoring_ms", 5, 5),
        ("mean_bytes", 461e6, 461e6),
        ("means_ms", 5, 5),
        ("scatter_pflop", 0.0027, 2.7),
        ("reranked", 3.3e5, 3.3e8),
        ("reranking_gpu_hours", 6.0, 6_000),
    ],
)
def test_growth_on_paper(quantity, at_a_million, at_a_billion):
    """The figures that were computed by hand come out, within 3 %."""
    million = Workload(images=10**6, labels=10**5, gpus=64)
    assert plan_capacity(million, PAPER)[quantity] == pytest.approx(at_a_million, rel=0.03)
    assert plan_capacity(BILLION, PAPER)[quantity] == pytest.approx(at_a_billion, rel=0.03)


def test_growth_on_paper_in_half_precision():
    """Vectors in float16: what a query reads of them, and the pass of the statistics."""
    plan = plan_capacity(BILLION, HALF)
    assert plan["vector_bytes"] == pytest.approx(2.3e12, rel=0.01)
    assert plan["rescored_bytes"] == pytest.approx(1.2e6, rel=0.05)
    assert plan["statistics_seconds"] == pytest.approx(72, rel=0.01)
    rows = BILLION.rows_per_label * PAPER.labels_read
    assert rows * plan["vector_bytes"] / 10**9 == pytest.approx(184e6, rel=0.01)


def test_costs_on_paper():
    """At the prices that were assumed there; all of them are given, none is built in."""
    costs = {cost.name: cost for cost in plan_capacity(BILLION, PAPER, PRICES).costs}
    assert costs["storing the image files"].value == pytest.approx(6_900)
    assert costs["storing the image files"].per_month
    assert costs["reading the image files"].value == pytest.approx(400)
    assert costs["instead: reading tar files"].value == pytest.approx(0.4)
    assert costs["encoding the index"].value == pytest.approx(1_033, rel=0.01)
    assert costs["reranking"].value / costs["encoding the index"].value == pytest.approx(15, rel=0.05)
    assert "searching" not in costs  # of cores, which have no price here
    assert plan_capacity(BILLION).costs == ()


def test_small_collections_need_no_cluster():
    """Up to five million images one machine is right, and the plan says so."""
    assert plan_capacity(Workload(5_000_000, 1000)).fits_one_machine
    assert not plan_capacity(Workload(5_000_001, 1000)).fits_one_machine


def test_a_plan_is_json():
    """With every quantity, its unit, and the assumptions as they were used."""
    plan = plan_capacity(BILLION, prices=PRICES)
    shown = json.loads(json.dumps(plan.to_dict()))
    assert shown["storage"]["vector_bytes"] == {"value": plan["vector_bytes"], "unit": "bytes", "meaning": "vectors"}
    assert shown["assumptions"]["vector_numbers"]["value"] == 1152
    assert shown["assumptions"]["gpu_tflops"]["value"] == pytest.approx(410, abs=1)
    assert shown["prices"]["core_hour"] is None
    assert sum(len(shown[subject]) for subject in dict.fromkeys(q.subject for q in plan.quantities)) == len(
        plan.quantities
    )
    with pytest.raises(KeyError):
        _ = plan["nothing"]


def test_the_table_of_the_guide_is_what_a_plan_says():
    """Each row of it that has the name of a quantity, for the three sizes."""
    guide = (ROOT / "docs/guides/scale.md").read_text(encoding="utf-8")
    plans = [plan_capacity(Workload(images, 10**4)) for images in (10**6, 10**8, 10**9)]
    shown = 0
    for quantities in zip(*(plan.quantities for plan in plans)):
        amounts = " | ".join(amount(quantity.value, quantity.unit) for quantity in quantities)
        if f"| {quantities[0].meaning} | " in guide:
            assert f"| {quantities[0].meaning} | {amounts} | " in guide
            shown += 1
    assert shown >= 10
