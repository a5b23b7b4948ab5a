"""What records answer: sizes at equal load per GPU, async scheduling, memory; and the figures of evidence."""

import itertools
import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.campaign.probes import seen
from helpers import paths
from helpers.errors import CookbookError
from helpers.plots.recorded import pareto
from helpers.recipes import load_target
from helpers.records.curves import by_version, curves, speed_records, versioned
from helpers.records.record import RunRecord
from maintain.pages.levers.rows import one_host
from maintain.studies import recorded
from maintain.studies.answers import answers, memory, pairs, published, sizes


def test_sizes_are_compared_at_equal_load_per_gpu() -> None:
    records = speed_records("h200")
    points = curves(by_version(records)["0.25.1"], "gpt-oss-120b", 1024, 1024)
    rows = pairs(points["TP1"], "TP2", points["TP2"])
    assert len(rows) == 2 and rows[0].startswith("| 1,024/1,024 | 128 | TP1 |") and "| 128 | TP2 |" in rows[1], (
        "256 on two"
    )
    assert pairs(points["TP1"], "TP4", points["TP2"])[1].startswith("| 1,024/1,024 | 4 | TP4 |"), "16 on four"
    copies = sizes(records, "gpt-oss-20b")
    assert "| 256 | 4 x TP1 |" in copies, "copies are compared too"
    assert "| 256 | router, two clients |" in copies, "through the router too"
    assert "`cache_aware`, and no copy had more than 256" in copies and "0.65x and 0.95x through the router" in copies
    single = [r for r in records if r.serving.replicas == 1]
    assert sizes(single, "gpt-oss-20b") == "", "one size answers nothing"
    large = sizes(single, "gpt-oss-120b")
    assert "one router" not in large and "| 8,192/1,024 | 16 | TP4 |" in large, "the longer prompts are compared too"
    assert "2026-11-22, 2026-11-25, 2026-11-26 on hosts of 2 GPUs with 32 CPU cores and 4 GPUs" in large


def test_synthetic_weights_are_held_against_published_ones() -> None:
    text = published("h200", speed_records("h200"), "gpt-oss-120b")
    rows = [line for line in text.splitlines() if "(vLLM 0.13.0)" in line]
    assert len(rows) == 11 and "| 8,192/1,024 | TP1 | 16 | 922 (vLLM 0.32.0) | 934 (vLLM" in text
    assert text.splitlines()[-1].startswith("From 0.81 to 1.03 times")
    versions = {r.release for r in speed_records("h200") if r.model == "gpt-oss-120b"}
    here = {line.split(" | ")[3].partition(" (vLLM ")[2].rstrip(")") for line in rows}
    assert here == versions, "each row says which vLLM of ours it is"
    fits = memory(speed_records("h200"))
    assert all(f"TP{size} | {version} |" in fits for size, version in ((2, "0.32.0"), (4, "0.25.1")))
    assert published("h200", speed_records("h200"), "gpt-oss-20b") == "", "nobody published vLLM's figures for it"


def test_sizes_are_compared_on_one_vllm_only() -> None:
    records = speed_records("h200")
    newest, oldest = by_version(records)
    assert (newest, oldest) == ("0.32.0", "0.25.1")
    large = sizes(records, "gpt-oss-120b")
    assert large.count("the better trade") == 2 and all(f"; vLLM {one}, runs of" in large for one in (newest, oldest))
    tp2, tp4 = (large.index(f"| TP{size} |") for size in (2, 4))
    assert tp2 < large.index("; vLLM 0.25.1") < tp4, "0.32.0 has no TP4"
    drawn = versioned(records, "gpt-oss-120b", 1024, 1024)
    assert [label for label in drawn if "TP1" in label] == ["TP1", "TP1 (vLLM 0.25.1)"]
    assert "TP2 (vLLM 0.25.1)" in drawn and "TP4" not in drawn
    assert drawn["TP1"] != drawn["TP1 (vLLM 0.25.1)"]


def test_two_gpus_are_held_against_one_of_the_same_host() -> None:
    said = one_host("h200", "gpt-oss-120b", "0.32.0")
    assert said.startswith("**On one host** gpt-oss-120b TP2 gave")
    assert "1.00x at 16, 1.10x at 64, 1.45x at 128 requests per GPU" in said
    assert one_host("h100", "gpt-oss-120b", "0.32.0") == "", "bare ran on other hosts there"


def test_a_machine_without_records_answers_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(paths, "RECORDS", tmp_path)
    monkeypatch.setattr("helpers.records.curves.RECORDS", tmp_path)
    assert answers("h200").markdown == ""


def test_the_figures_of_the_evidence_say_what_they_draw() -> None:
    routing = str(recorded.routing("h200", "gpt-oss-20b"))
    assert "synthetic   16  87.5%  88.2%" in routing and "dummy       64  12.5% 100.0%" in routing
    assert "16  1.70x  0.59x" in str(recorded.dummy("h200", "gpt-oss-20b"))
    assert "256 MoE                  7.92   2.12" in str(recorded.steps("h200", "gpt-oss-20b"))
    for one in (recorded.routing, recorded.dummy, recorded.steps):
        assert one("h200", "gpt-oss-20b")._repr_png_()[0].startswith(b"\x89PNG")
    marlin = str(recorded.steps("h200", "gpt-oss-120b", "steps-marlin"))
    assert "experts through MARLIN" in marlin and "experts through TRITON" in str(
        recorded.steps("h200", "gpt-oss-120b")
    )
    with pytest.raises(CookbookError, match="gpt-oss-20b has no steps-marlin measurement on h200"):
        recorded.steps("h200", "gpt-oss-20b", "steps-marlin")


def test_synthetic_routing_is_within_a_few_percent_of_uniform() -> None:
    """The bar of honest weights, from the committed measurement; dummy weights miss it by far."""
    for model, weights in itertools.product(("gpt-oss-20b", "gpt-oss-120b"), ("synthetic", "dummy")):
        within = weights == "synthetic"
        rows = recorded.evidence("h200", model, f"routing-{weights}")["batches"]
        assert [row["batch"] for row in rows] == [1, 16, 64]
        assert all(abs(row["ratio"] - 1) < 0.03 for row in rows) is within


def test_a_variant_is_no_curve_but_an_answer() -> None:
    records = [r for r in speed_records("h200") if "async" in r.serving.variant]
    assert records and all(isinstance(r, RunRecord) for r in records)
    assert "async" not in str(pareto("h200", "gpt-oss-20b"))
    assert "1.30x at concurrency 1 (3.96 against 3.04 ms)" in answers("h200").markdown


def test_the_step_profile_names_its_server() -> None:
    found = json.loads(recorded.evidence_file("h200", "gpt-oss-20b", "steps").read_text())
    assert (
        found["weights"] == "synthetic"
        and "--profiler-config" in found["argv"]
        and load_target("h200").target == "h200"
    )


@pytest.mark.parametrize("model", ["gpt-oss-20b", "gpt-oss-120b"])
def test_the_starts_are_those_of_servers_that_were_started(model: str) -> None:
    lines = str(recorded.starts("h200", model)).splitlines()
    totals = {line.split(":")[0].strip(): int(line.split(":")[1].split()[0]) for line in lines[1:]}
    assert len(totals) == len(lines) - 1, "every bar has a name of its own"
    assert "28 November" not in str(totals), "the study's own release, not what ran since"
    bare = totals["26 November, throughput study, bare vllm serve"]
    few = totals["26 November, TP1, throughput profile, 10 graph sizes"]
    assert few < (0.5 if model == "gpt-oss-20b" else 0.7) * bare, "few graphs and kept caches against bare, on one host"
    assert not any(total == 0 for total in totals.values()), "a server that was attached to has no start of its own"


def test_evidence_names_its_day_its_driver_and_its_torch(tmp_path: Path) -> None:
    record = next(r for r in speed_records("h100") if r.machine.gpus)
    campaign = SimpleNamespace(facts={"machine": record.machine, "versions": record.versions})
    (tmp_path / "server.log").touch()
    told = seen(campaign, SimpleNamespace(words=["vllm", "serve", "--port", "1"]), tmp_path / "server.log")
    assert (told["driver"], told["torch"]) == (record.machine.driver, record.versions["torch"])
    assert date.fromisoformat(told["day"]) and told["argv"] == ["--port", "1"]
    for name in ("copies", "recurring", "recurring-offload", "tool-load"):
        kept = json.loads((paths.RECORDS / "h100" / "evidence" / f"gpt-oss-20b-{name}.json").read_text())
        assert all(kept[part] for part in ("day", "driver", "torch")), name


def test_the_recipe_says_what_copies_gave_with_and_without_the_router() -> None:
    told = json.loads((paths.RECORDS / "h200" / "evidence" / "gpt-oss-20b-copies.json").read_text())
    alone = {row["users_per_copy"]: row["output_tok_s_per_copy"] for row in told["rows"] if row["asked"] == "one copy"}
    why = " ".join(load_target("h200").models["gpt-oss-20b"].why.split())
    for way, words in (("two copies", "of one copy's"), ("router", "through the")):
        rows = [row for row in told["rows"] if row["asked"].startswith(way)]
        ratios = [row["output_tok_s_per_copy"] / alone[row["users_per_copy"]] for row in rows]
        spread = " to ".join(sorted({f"{min(ratios):.2f}", f"{max(ratios):.2f}"}))
        assert f"{spread} {words}" in why
