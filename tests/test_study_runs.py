"""What a study says of its runs: which phases of a start take most, what a second start saves, who captures fewer graphs."""

import pytest

from helpers.recipes import load_target
from helpers.records.claims import OTHER_FLAGS, same_flags
from helpers.records.curves import newest_of, speed_records, takes
from helpers.records.record import RunRecord
from maintain.pages import measured, study
from maintain.studies import runs
from maintain.studies.answers import answers, releases


def test_the_sentences_are_computed_from_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("h100")
    first = next(r for r in runs.timed(target) if r.model == "gpt-oss-20b" and not r.serving.variant)

    def start(compiling: float, total: float, *notes: str) -> RunRecord:
        phases = {"imports": 10.0, "compile": compiling, "total": total}
        return first.model_copy(update={"startup_s": phases, "notes": list(notes)})

    rows = [start(50, 100), start(60, 120), start(20, 50, "start 2 of the same command on this host")]
    monkeypatch.setattr(runs, "timed", lambda target: rows)
    said = runs.starts_said(target)
    assert "in the median of the 3 rows: `compile` 50% (torch.compile); `imports` 10%" in said
    assert "took 50 s; the longest of 2 first starts took 120 s. `compile` fell most, from 60 to 20 s." in said
    rows.pop()
    assert "second start" not in runs.starts_said(target)
    rows.pop()
    assert runs.starts_said(target) == "", "one start has no table, so nothing is said of it"


def test_a_server_with_graph_sizes_of_its_own_says_how_many() -> None:
    target = load_target("h100")
    named = [r for r in runs.timed(target) if "--cudagraph-capture-sizes" in r.argv]
    assert any(not record.serving.variant for record in named), "a campaign's server of the recipe's profile"
    marked = [line for line in measured.starts(target).splitlines() if " graph sizes" in line]
    assert len(marked) == len(named) and all(runs.label(record).endswith(" graph sizes") for record in named)


def test_a_study_says_how_many_runs_a_point_is_the_median_of() -> None:
    records = [r for r in speed_records("h100") if r.model == "gpt-oss-20b"]
    first = records[0].throughput[0]
    own = [records[0].model_copy(update={"throughput": [first]})] * 3
    where = f"gpt-oss-20b TP1 at {first.concurrency} in flight, 1,024/1,024 tokens, vLLM {own[0].release}"
    assert runs.medians(own) == f"{where} (3 runs)" and runs.medians(own[:2]) == ""
    found = takes(own, "gpt-oss-20b", 1024, 1024)["TP1"]
    assert runs.run_count(found, first.concurrency) == " (the median run of 3)"
    told = measured.sentences(load_target("h100"), "gpt-oss-20b", speed_records("h100"))
    assert "tok/s for each user (the median run of " in told, "the page of the target quotes a median"


def test_a_curve_with_other_flags_is_marked_and_todays_points_stand_beside_it() -> None:
    records = newest_of(speed_records("h100"))
    (today,) = [r for r in records if r.serving.label == "TP2" and same_flags(r)]
    told = runs.flags(records, "gpt-oss-120b")
    assert told.startswith(f"gpt-oss-120b ran {OTHER_FLAGS} as TP2 at 1,024/1,024 tokens")
    for point in today.throughput:
        assert f"{point.output_tok_s_per_gpu:,.0f} at {point.concurrency}" in told
    assert runs.flags([today], "gpt-oss-120b") == ""
    assert told in answers("h100").markdown and told in study.study_source("h100")


def test_points_of_two_releases_are_held_against_each_other() -> None:
    now = next(r for r in speed_records("h100") if r.model == "gpt-oss-20b" and len(r.throughput) > 2)
    faster = [p.model_copy(update={"output_tok_s_per_gpu": 2 * p.output_tok_s_per_gpu}) for p in now.throughput[1:]]
    before = now.model_copy(update={"versions": now.versions | {"vllm": "0.25.1"}, "throughput": faster})
    told = releases([now, before], "gpt-oss-20b")
    assert told.count("| 0.50x per GPU, 1.00x per user |") == len(faster), "only the points that both have"
    assert f"The median of these {len(faster)} points is 0.50x per GPU (0.50 to 0.50) and 1.00x per user" in told
    assert releases([now], "gpt-oss-20b") == "" and told not in answers("h100").markdown
