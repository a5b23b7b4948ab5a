"""What records answer: sizes at equal load per GPU, async scheduling, memory; and the figures of evidence."""

import json

import pytest

from helpers import paths
from helpers.bench.record import RunRecord
from helpers.bench.records import speed_records
from helpers.bench.trades import answers, pairs, sizes
from helpers.errors import CookbookError
from helpers.plots import recorded
from helpers.recipes import load_target


def test_sizes_are_compared_at_equal_load_per_gpu() -> None:
    records = speed_records("h200")
    points = {r.parameters["tensor_parallel_size"]: r.throughput for r in records if r.model == "gpt-oss-120b"}
    rows = pairs(points[1], "TP2", points[2])
    assert len(rows) == 2 and rows[0].startswith("| 128 | TP1 |") and rows[1].startswith("| 128 | TP2 |"), "256 on two"
    assert pairs(points[1], "TP4", points[2])[1].startswith("| 4 | TP4 |"), "16 on four"
    assert sizes(records, "gpt-oss-20b") == "", "one size answers nothing"


def test_a_machine_without_records_answers_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(paths, "RECORDS", tmp_path)
    monkeypatch.setattr("helpers.bench.records.RECORDS", tmp_path)
    assert answers("h200").markdown == ""


def test_the_figures_of_the_evidence_say_what_they_draw() -> None:
    routing = str(recorded.routing("h200", "gpt-oss-20b"))
    assert "synthetic   16  87.5%  88.2%" in routing and "dummy       64  12.5% 100.0%" in routing
    assert "16  1.70x  0.59x" in str(recorded.dummy("h200", "gpt-oss-20b"))
    assert "256 MoE                  7.92   2.12" in str(recorded.steps("h200", "gpt-oss-20b"))
    for one in (recorded.routing, recorded.dummy, recorded.steps):
        assert one("h200", "gpt-oss-20b")._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(CookbookError, match="gpt-oss-120b has no steps measurement on h200"):
        recorded.steps("h200", "gpt-oss-120b")


def test_synthetic_routing_is_within_a_few_percent_of_uniform() -> None:
    """The bar of honest weights, from the committed measurement; dummy weights miss it by far."""
    for weights, within in (("synthetic", True), ("dummy", False)):
        rows = recorded.evidence("h200", "gpt-oss-20b", f"routing-{weights}")["batches"]
        assert [row["batch"] for row in rows] == [1, 16, 64]
        assert all(abs(row["ratio"] - 1) < 0.03 for row in rows) is within


def test_a_variant_is_no_curve_but_an_answer() -> None:
    records = [r for r in speed_records("h200") if "async" in r.parameters.get("variant", "")]
    assert records and all(isinstance(r, RunRecord) for r in records)
    assert "async" not in str(recorded.pareto("h200", "gpt-oss-20b"))
    assert "1.30x at concurrency 1 (3.96 against 3.04 ms)" in answers("h200").markdown


def test_the_step_profile_names_its_server() -> None:
    found = json.loads(recorded.evidence_file("h200", "gpt-oss-20b", "steps").read_text())
    assert found["weights"] == "synthetic" and "--profiler-config" in found["argv"] and load_target("h200").target == "h200"


def test_the_starts_are_those_of_servers_that_were_started() -> None:
    lines = str(recorded.starts("h200", "gpt-oss-20b")).splitlines()
    totals = {line.split(":")[0].strip(): int(line.split(":")[1].split()[0]) for line in lines[1:]}
    assert len(totals) == len(lines) - 1, "every bar has a name of its own"
    assert totals["notebook's run, throughput profile"] > 2 * totals["bare vllm serve again, profiled"]
    assert not any(total == 0 for total in totals.values()), "a server that was attached to has no start of its own"
