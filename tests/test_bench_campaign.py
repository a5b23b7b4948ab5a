"""A campaign's plan, its way through steps that fail, wait or come too late, and the way into the records."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import nullcontext
from datetime import datetime
from types import SimpleNamespace

import pytest
from test_bench_record import point, record

from benchmarks.campaign import driver, probes
from benchmarks.campaign import measure as measuring
from benchmarks.campaign.driver import Campaign, pack, run_campaign
from benchmarks.campaign.import_results import add_distances, known, take, write_table
from benchmarks.campaign.measure import command, compiled, medians, missing
from benchmarks.campaign.plan import (
    EAGLE3,
    FP8,
    FP8_CACHE,
    Answers,
    Copies,
    Hunt,
    Job,
    Notebook,
    Recurring,
    Routing,
    Step,
    Steps,
    ToolLoad,
    Tools,
    Tuning,
    eagle3,
    shared,
    waves,
)
from benchmarks.campaign.plans import PLANS, rehearsed, timetable
from benchmarks.campaign.scale import in_flight, times, used, ways
from benchmarks.campaign.tool_probes import WAYS
from benchmarks.result import RECORDS, Result
from helpers.bench.sweep import plan
from helpers.errors import UsageError
from helpers.paths import ROOT
from helpers.recipes import load_target
from helpers.recipes.command import bare_command
from helpers.recipes.tuning import load_space, load_spaces
from helpers.records.curves import curves, load_records
from helpers.records.record import Point, RunRecord
from hunt.cases import hunted
from maintain.studies import answers
from maintain.studies.copies import UNKNOWN, beside_tools, routed, shares

HOSTS = {"single": 1, "two": 2, "four": 4}


def steps(target: str, plan: str = "four") -> dict[str, Step]:
    return {step.name: step for step in PLANS[plan](load_target(target))}


def events(folder) -> str:
    return (folder / "events.log").read_text()


@pytest.mark.parametrize("target", ["h100", "h200"])
@pytest.mark.parametrize("plan", ["single", "two", "four", "wide", "copies", "hunt"])
def test_the_plan_holds_what_the_pages_need(target, plan):
    found = steps(target, plan)
    assert len(found) == len(PLANS[plan](load_target(target))), "two steps of one name share a folder"
    if target == "h100" and "20b-notebook" in found:  # a page's figures are those of its own defaults
        assert found["20b-notebook"].concurrency is None
    if "120b-notebook" in found:
        assert found["120b-notebook"].needs == load_target(target).models["gpt-oss-120b"].default
    levers = [step for name, step in found.items() if isinstance(step, Job) and ("-fp8" in name or "-eagle3" in name)]
    for step in levers:
        base = found[f"{step.name.split('-')[0]}-{'fp8' if 'kv' in step.name else 'bare'}"]
        both = {x.concurrency for x in base.loads + base.once} & {x.concurrency for x in step.loads + step.once}
        assert both, f"{step.name} is compared with nothing on its host"
    for step in found.values():
        loads = [*step.loads, *step.once] if isinstance(step, Job) else []
        assert all(x.prompts >= 2 * x.concurrency for x in loads if x.concurrency > 1)
        assert 0 < step.least_s <= step.takes_s, "begun when it cannot end"


def test_a_point_says_how_many_kernels_were_compiled_while_it_was_measured(tmp_path):
    log = tmp_path / "server.log"
    assert compiled(log) == 0
    line = "WARNING [jit_monitor.py:140] Triton kernel JIT compilation during inference: _topk_forward. This causes a spike\n"
    log.write_text(line + "INFO [kernel_warmup.py:176] JIT kernel warmup starting.\n" + line)
    assert compiled(log) == 2


@pytest.mark.parametrize("target", ["h100", "h200"])
@pytest.mark.parametrize("plan", HOSTS)
def test_a_plan_fills_the_borrowed_time_with_the_page_whole(target, plan):
    limit, slots = 1560.0, HOSTS[plan]
    every = PLANS[plan](load_target(target))
    rows = list(timetable(every, slots, limit))
    for gpu in range(slots):
        own = sorted((row.begin, row.end) for row in rows if gpu in row.gpus)
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(own)), "two steps on one GPU"
    assert rows[0].step is every[0] and (plan == "four" or isinstance(every[0], Notebook))
    assert not any(row.cut for row in rows if isinstance(row.step, Notebook | ToolLoad | Routing | Copies))
    assert sum((row.end - row.begin) * len(row.gpus) for row in rows) > 0.9 * slots * limit, "GPUs wait"
    if plan != "single":
        levers = [row.step for row in rows if isinstance(row.step, Job) and row.step.variant and not row.cut]
        assert {"bare vllm serve", (FP8 + EAGLE3).variant} <= {step.variant for step in levers if step.repeats == 3}


def test_a_timetable_lets_nothing_overtake_and_leaves_out_what_has_no_time():
    one = Job("a", "gpt-oss-nano", [], takes_s=100)
    wide, late = dataclasses.replace(one, name="wide", needs=2), dataclasses.replace(one, name="late", least_s=250)
    rows = list(timetable([one, wide, dataclasses.replace(one, name="b"), late], 2, 300))
    assert [(row.step.name, row.begin, row.end) for row in rows] == [("a", 0, 100), ("wide", 100, 200), ("b", 200, 300)]
    assert [row.cut for row in timetable([one, wide], 2, 150)] == [False, True]


def test_steps_are_taken_as_they_are_named():
    plan = PLANS["four"](load_target("h200"))
    assert [step.name for step in driver.chosen(plan, ["120b-tp2", "20b-bare"])] == ["120b-tp2", "20b-bare"]
    assert driver.chosen(plan, None) is plan
    with pytest.raises(UsageError, match="no step 20b-bore"):
        driver.chosen(plan, ["20b-bore"])


@pytest.mark.parametrize("plan", ["single", "two", "four", "wide", "copies", "hunt"])
def test_a_rehearsed_plan_is_the_same_steps_on_the_test_model(plan):
    for target in ("h100", "h200"):
        for step in PLANS[plan](load_target(target)):
            small = rehearsed(step)
            assert (small.name, type(small), small.model) == (step.name, type(step), "gpt-oss-nano")
            if lever := getattr(small, "lever", None):
                assert not lever.arguments and lever.variant == step.lever.variant
                assert set(lever.env) == {"VLLM_CPU_KVCACHE_SPACE"}
            if isinstance(small, Job):
                assert small.size == 1 and max(x.concurrency for x in small.loads) <= 2


def test_an_agents_prompts_share_nine_tenths_and_are_their_whole_length():
    (load,) = shared([8], 64_000, 400)
    assert (load.shared_tokens, load.input_tokens, load.prompts) == (57_600, 64_000, 24)


def test_an_acceptance_that_nobody_published_says_so():
    sources = {kind.acceptance.tokens_per_step: kind.acceptance.source for kind in (EAGLE3, eagle3(1.0))}
    assert "Dynamo" in sources[2.72] and sources[1.0].startswith("set,")


@pytest.mark.real
def test_steps_side_by_side_never_share_a_gpu_and_the_wanted_one_goes_first(tmp_path, monkeypatch):
    busy, seen, guard = [], [], threading.Lock()

    def job(campaign, step, folder):
        with guard:
            assert not set(step.gpus) & {gpu for one in busy for gpu in one}
            busy.append(step.gpus)
            seen.append(step.name)
        time.sleep(0.1)
        with guard:
            busy.remove(step.gpus)

    monkeypatch.setitem(driver.WAYS, Job, job)
    one = Job("a", "gpt-oss-nano", [])
    wide = dataclasses.replace(one, name="wide", needs=2)
    plan = [one, wide, *(dataclasses.replace(one, name=name) for name in "bcde")]
    run_campaign(Campaign(tmp_path, sys.executable, "h200", slots=3), plan)
    assert sorted(seen[:2]) == ["a", "wide"] and len(seen) == 6
    seen.clear()
    run_campaign(Campaign(tmp_path, sys.executable, "h200", slots=2), plan)
    assert seen[:2] == ["a", "wide"], "nothing overtakes the step that waits for two"
    with pytest.raises(AssertionError):  # the check above would see two on one GPU
        busy.append((0,))
        job(None, dataclasses.replace(one, gpus=(0,)), None)


@pytest.mark.real
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be shared out")
def test_steps_side_by_side_have_cores_of_their_own(tmp_path, monkeypatch):
    seen, both = {}, threading.Barrier(2, timeout=20)

    def job(campaign, step, folder):
        both.wait()
        asked = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
        seen[step.name] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()

    monkeypatch.setitem(driver.WAYS, Job, job)
    one, before = Job("a", "gpt-oss-nano", []), os.sched_getaffinity(0)
    run_campaign(Campaign(tmp_path, sys.executable, "h200", slots=2), [one, dataclasses.replace(one, name="b")])
    assert seen["a"] and seen["b"] and not set(seen["a"]) & set(seen["b"])
    assert os.sched_getaffinity(0) == before


@pytest.mark.real
def test_a_step_wider_than_the_host_is_skipped(tmp_path):
    run_campaign(Campaign(tmp_path, sys.executable, "h200", slots=1), [Job("wide", "gpt-oss-20b", [], needs=2)])
    assert "skipped: it needs 2 GPUs, here are 1" in events(tmp_path)


@pytest.mark.real
def test_a_tuning_sees_its_own_gpu_only(tmp_path, monkeypatch):
    made = Campaign(tmp_path / "out", sys.executable, "h200", slots=1)
    script = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], *sys.argv[1:])"
    monkeypatch.setattr(driver.Campaign, "checkpoint", lambda *_: tmp_path)
    tune = tmp_path / "python"
    tune.write_text(f"#!{sys.executable}\n{script}\n")
    tune.chmod(0o755)
    monkeypatch.setattr(probes.sys, "executable", str(tune))
    first = [{"moe-backend": "marlin"}]
    run_campaign(made, [Tuning("t", "gpt-oss-20b", "latency", [1, 4], 3, first)])
    log = events(tmp_path / "out")
    assert "0 -m helpers.cli tune h200" in log and "--concurrency 1,4 --trials 3" in log
    assert "passed" in log
    space = load_spaces(tmp_path / "out" / "t" / "space.yaml")
    assert list(space) == ["hopper"] and space["hopper"].first == {"latency": first}
    assert space["hopper"].knobs == load_space("h200", "gpt-oss-20b")[1].knobs


@pytest.mark.real
def test_a_notebook_runs_on_its_gpus_and_port_and_ends_with_the_campaign(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport os, sys, time\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], *sys.argv[1:], flush=True)\n"
        "time.sleep(60 if 'gpt-oss-120b' in sys.argv else 0)\n"
    )
    python.chmod(0o755)
    made = Campaign(tmp_path / "out", sys.executable, "h100", slots=3, minutes=0.05)
    monkeypatch.setattr(probes.sys, "executable", str(python))
    monkeypatch.setattr(driver.Campaign, "checkpoint", lambda *_: tmp_path)
    plan = [Notebook("large", "gpt-oss-120b", [1, 4], needs=2), Notebook("small", "gpt-oss-20b", [1])]
    began = time.monotonic()
    run_campaign(made, plan)
    assert time.monotonic() - began < 20
    log = events(tmp_path / "out")
    assert "-p run_dir small" in log and str(tmp_path / "out" / "small") not in log
    assert (
        "2 -m helpers.cli run h100 -p model gpt-oss-20b -p weights synthetic -p install existing -p port 20100" in log
    )
    assert "FAILED: cut off" in log
    said = (tmp_path / "out" / "large" / "run.log").read_text()
    assert said.startswith("0,1 ") and "-p concurrency [1, 4]" in said and "-p tensor_parallel_size 2" in said


@pytest.mark.real
def test_a_step_that_fails_or_comes_late_stops_nothing(tmp_path, monkeypatch):
    def job(campaign, step, folder):
        if step.name == "bad":
            raise RuntimeError("it broke")
        (folder / "record.json").write_text('{"state": "passed"}')

    monkeypatch.setitem(driver.WAYS, Job, job)
    bad, good = (Job(name, "gpt-oss-nano", []) for name in ("bad", "good"))
    late = Job("late", "gpt-oss-nano", [], least_s=700)
    out = tmp_path / "out"
    run_campaign(Campaign(out, sys.executable, "h200", minutes=10), [bad, good, late])
    log = events(out)
    assert "bad                    FAILED: it broke" in log and "late                   skipped" in log
    assert "RuntimeError: it broke" in (out / "errors.log").read_text()
    assert log.splitlines()[-1].endswith("ended")
    run_campaign(Campaign(out, sys.executable, "h200"), [good])
    assert events(out).count("good                   begins") == 1 and "good                   done before" in events(
        out
    )


@pytest.mark.real
def test_a_server_command_is_the_recipes_with_the_lever_over_it(tmp_path):
    tight = Job("120b-tp1", "gpt-oss-120b", waves([1, 4, 16, 64, 128]), arguments=[])
    more = {"20b-throughput": Job("20b-throughput", "gpt-oss-20b", waves([1, 4, 16, 64, 256])), "120b-tp1": tight}

    def made(target: str, name: str, **changes) -> tuple[list[str], dict[str, str]]:
        step = dataclasses.replace((steps(target) | steps("h100") | more)[name], **changes)
        step = dataclasses.replace(step, gpus=tuple(range(step.needs)))
        own = command(Campaign(tmp_path, sys.executable, target), step, "W", 8000, "HEAD")
        return own.argv, own.env

    argv, env = made("h200", "20b-throughput")
    assert argv[:3] == ["vllm", "serve", "W"] and "--stream-interval" in argv and env["CUDA_VISIBLE_DEVICES"] == "0"
    assert argv[argv.index("--cudagraph-capture-sizes") + 1 :][:9] == [
        "1",
        "2",
        "4",
        "8",
        "16",
        "32",
        "64",
        "128",
        "256",
    ]
    with_fp8, fp8_env = made("h200", "20b-throughput", lever=FP8)
    assert with_fp8 == [*argv, "--moe-backend", "humming"]
    assert fp8_env == env | {"VLLM_HUMMING_INPUT_QUANT_CONFIG": '{"a_dtype": "float8e4m3"}'}
    speculating, _ = made("h200", "20b-eagle3")
    settings = json.loads(speculating[speculating.index("--speculative-config") + 1])
    assert settings["model"] == "HEAD" and settings["synthetic_acceptance_length"] == 2.72
    argv, _ = made("h100", "20b-tp1")
    assert argv[-2:] == ["--stream-interval", "20"], "nothing but the recipe's flags"
    bare, _ = made("h200", "20b-bare")
    assert "--stream-interval" not in bare and "--cudagraph-capture-sizes" not in bare
    # the recipe bounds the graphs there, and vLLM wants the bound among the sizes
    tight, _ = made("h100", "120b-tp1", exact=False)
    assert tight[tight.index("--max-cudagraph-capture-size") + 1] == "128"
    assert tight[tight.index("--cudagraph-capture-sizes") + 1 :][7] == "128"
    tight, _ = made("h100", "120b-tp1", exact=False, lever=EAGLE3)  # 128 users have 512 tokens in a step
    assert tight[tight.index("--max-cudagraph-capture-size") + 1] == "512" and "512" in tight[-8:-2]


def test_levers_add_up():
    both = FP8 + EAGLE3 + FP8_CACHE
    assert both.speculates and not (FP8 + FP8_CACHE).speculates
    assert both.arguments == [*FP8.arguments, *EAGLE3.arguments, *FP8_CACHE.arguments] and both.env == FP8.env
    job = Job("j", "gpt-oss-20b", [], both, profile="")
    assert (
        job.variant
        == "bare vllm serve, FP8 activations (humming), EAGLE3 (acceptance 2.72), FP8 KV cache (full attention)"
    )


def test_a_record_holds_the_median_take_of_each_point_and_says_how_far_they_lie_apart():
    def taken(rate: float, users: int = 4) -> Point:
        raw, one = point(), Point.model_validate(point())
        scale = rate / one.output_tok_s
        raw |= {
            "concurrency": users,
            "output_tok_s": rate,
            "output_tok_s_per_gpu": rate,
            "roofline_tok_s": None,
            "roofline_fraction": None,
            "duration_s": one.duration_s / scale,
        }
        return Point.model_construct(**raw)

    found, words = medians([[taken(100), taken(10, 1)], [taken(110)], [taken(90)]])
    assert [(p.concurrency, p.output_tok_s) for p in found] == [(4, 100), (1, 10)]
    assert words.endswith("4: 3 takes, 20.0%")
    assert medians([[taken(110)], [taken(90)]])[0][0].output_tok_s == 90, "of two the slower"
    assert medians([[taken(100)], []])[1] == ""


def test_results_become_records_and_curves(tmp_path):
    out, records = tmp_path / "campaign", tmp_path / "records"
    raw = record() | {"target": "h200", "model": "gpt-oss-20b", "weights": "synthetic", "commit": "unknown"}
    raw["serving"] = raw["serving"] | {"tensor_parallel_size": 2}
    raw["argv"] = [*raw["argv"], "--tensor-parallel-size", "2"]
    off = raw | {"serving": raw["serving"] | {"variant": "async scheduling off"}}
    for name, content in (("a", raw), ("b", off), ("20b-dummy", {"weights": "dummy", "throughput": [point()]})):
        (out / name).mkdir(parents=True)
        (out / name / "record.json").write_text(json.dumps(content))
    (out / "20b-routing").mkdir()
    (out / "20b-routing" / "routing-dummy.json").write_text("{}")
    (out / "latest").symlink_to("a")  # a notebook's run leaves it: not a step of its own
    pack(out, tmp_path / "x.tgz")
    with tarfile.open(tmp_path / "x.tgz") as tar:
        assert "campaign/a/record.json" in tar.getnames()
    take(out, records, "f" * 40)
    found = [*load_records("h200", records), *load_records("h200", records / "levers")]
    assert [r.serving.variant for r in found] == ["", "async scheduling off"]
    assert sorted(file.name[9:] for file in records.glob("*.json")) == ["a.json"]
    assert len(found) == 2 and {r.commit for r in found} == {"f" * 40}
    kept = {file.name for file in (records / "evidence").iterdir()}
    assert kept == {"gpt-oss-20b-dummy.json", "gpt-oss-20b-routing-dummy.json"}
    assert list(curves(found, "gpt-oss-20b", 64, 101)) == ["TP2"]
    assert list(curves(found, "gpt-oss-20b", 64, 101, variants=True)) == ["TP2", "TP2 async scheduling off"]
    assert isinstance(found[0], RunRecord)


def test_a_commit_that_a_host_could_not_tell_is_set_and_another_stays(tmp_path, capsys):
    raw = record() | {"target": "h200", "model": "gpt-oss-20b", "weights": "synthetic"}
    told = {"none": "unknown", "changed": "a" * 40 + "+", "told": "b" * 40}
    for name, commit in told.items():
        (tmp_path / "campaign" / name).mkdir(parents=True)
        (tmp_path / "campaign" / name / "record.json").write_text(json.dumps(raw | {"commit": commit}))
    for asked, expected in (("f" * 40, {"f" * 40, "b" * 40}), (None, set(told.values()))):
        take(tmp_path / "campaign", tmp_path / str(asked), asked)
        assert {r.commit for r in load_records("h200", tmp_path / str(asked))} == expected


@pytest.mark.real
def test_a_commit_is_named_whole_and_one_that_is_none_is_refused():
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    if not head:
        pytest.skip("no git here")
    assert known(head[:12]) == known("HEAD") == head
    with pytest.raises(UsageError, match="no commit of this checkout"):
        known("f" * 40)


def test_a_hunt_becomes_a_record_that_the_page_names(tmp_path):
    hunt = Result.model_validate_json((RECORDS / "request_hunt.json").read_text())
    gpu = hunt.machine.model_copy(update={"gpus": ["NVIDIA H100 80GB HBM3"]})
    question = "Does any request end the server of gpt-oss-20b (synthetic weights) by the throughput profile of h100?"
    ran = {"benchmark": "request_hunt_h100", "question": question, "machine": gpu, "commit": "unknown"}
    (tmp_path / "campaign" / "20b-hunt").mkdir(parents=True)
    hunt.model_copy(update=ran).write(tmp_path / "campaign" / "20b-hunt")
    step = tmp_path / "campaign" / "20b-hunt"
    (step / "request_hunt_h100.json").rename(step / Hunt.done)
    short = [value.model_copy(update={"value": 7.0}) if value.name == "requests" else value for value in hunt.values]
    for name in ("request_hunt_h100", "request_hunt_h100_fp8"):  # cut off: one that was taken whole, one that was not
        cut = tmp_path / "campaign" / f"20b-hunt-{name}"
        cut.mkdir()
        hunt.model_copy(update=ran | {"benchmark": name, "values": short}).write(cut).rename(cut / "hunt-part.json")
    results = tmp_path / "results"
    take(tmp_path / "campaign", tmp_path / "records", "f" * 40, results)
    found = {file.stem: Result.model_validate_json(file.read_text()) for file in results.iterdir()}
    assert set(found) == {"request_hunt_h100", "request_hunt_h100_fp8"} and {r.commit for r in found.values()} == {
        "f" * 40
    }
    told, where = hunted(results), "On NVIDIA H100 80GB HBM3, "
    served = "requests went to gpt-oss-20b (synthetic weights) by the throughput profile of h100: 0 of them ended"
    assert f"{where}10,073 {served}" in told, "the longer one stays"
    assert f"{where}7 {served}" in told, "one that was cut off counts with what it sent"
    assert "No GPU" not in told and "No GPU" in hunted(tmp_path)


def test_a_lever_keeps_every_take_beside_the_recipes_own_records(tmp_path):
    out, records = tmp_path / "campaign", tmp_path / "records"
    raw = record() | {"target": "h200", "model": "gpt-oss-20b", "weights": "synthetic"}
    raw["serving"] = raw["serving"] | {"profile": "throughput", "variant": "FP8"}
    for number, rate in enumerate((100.0, 120.0, 110.0), start=1):
        bench = out / "20b-fp8" / f"take-{number}" / "bench"
        bench.mkdir(parents=True)
        settings = {"concurrency": 4, "input_tokens": 1024, "output_tokens": 1024, "prompts": 8}
        result = {
            "output_throughput": rate,
            "p50_tpot_ms": 1000 / rate,
            "p50_ttft_ms": 50.0,
            "spec_decode_acceptance_length": 2.7,
            "cookbook": {"settings": settings},
        }
        (bench / "c0004-i1024-o1024.json").write_text(json.dumps(result))
    (out / "20b-fp8" / "record.json").write_text(json.dumps(raw))
    (out / "20b-routing-fp8").mkdir()
    (out / "20b-routing-fp8" / "routing.json").write_text('{"batches": []}')
    for name, age in (("20b-old", 100), ("20b-new", 1), ("120b-one", 50)):
        (out / name).mkdir()
        (out / name / "distances.json").write_text(json.dumps({"of": name, "distances": {}}))
        os.utime(out / name / "distances.json", (time.time() - age,) * 2)
    take(out, records, None)
    assert not load_records("h200", records) and len(load_records("h200", records / "levers")) == 1
    kept = {file.name for file in (records / "evidence").iterdir()}
    assert kept == {
        "levers.json",
        "gpt-oss-20b-routing-fp8.json",
        *(f"gpt-oss-{size}-distances.json" for size in ("20b", "120b")),
    }
    assert json.loads((records / "evidence" / "gpt-oss-20b-distances.json").read_text())["of"] == "20b-new"
    table = json.loads((records / "evidence" / "levers.json").read_text())["rows"]
    (row,) = table
    assert (row["variant"], row["concurrency"], row["output_tok_s"]) == ("FP8", 4, 110.0)
    assert [one["acceptance"] for one in row["takes"]] == [2.7] * 3
    assert row["host"].endswith(" cores"), "what is compared ran on one host"
    (out / "events.log").write_text("one\n")
    for _ in range(2):
        take(out, records, None)
    assert json.loads((records / "evidence" / "levers.json").read_text())["rows"] == table, "taken twice, kept once"
    other = [row | {"commit": "another"} for row in table]
    write_table(records / "evidence" / "levers.json", other)
    rows = json.loads((records / "evidence" / "levers.json").read_text())["rows"]
    assert rows == [*table, *other], "another host's campaign of the same day"
    (out / "events.log").write_text("two\n")
    take(out, records, None)
    (log,) = (records / "evidence").glob("*-campaign.log")
    assert log.read_text() == "one\ntwo\n"


def test_distances_of_an_earlier_campaign_stay_where_release_and_card_are_the_same(tmp_path):
    new, kept = tmp_path / "distances.json", tmp_path / "gpt-oss-20b-distances.json"
    same = {"vllm": "0.32.0", "gpu": "NVIDIA H200", "weights": "synthetic"}
    new.write_text(json.dumps(same | {"day": "2026-11-28", "distances": {"fp8": {"kl_mean": 2.0}}}))
    earlier = {"day": "2026-11-27", "distances": {"fp8": {"kl_mean": 1.0}, "cache": {"kl_mean": 0.1}}}
    kept.write_text(json.dumps(same | earlier))
    add_distances(new, kept)
    found = json.loads(kept.read_text())
    assert found["distances"] == {"cache": {"day": "2026-11-27", "kl_mean": 0.1}, "fp8": {"kl_mean": 2.0}}
    add_distances(new, kept)
    assert json.loads(kept.read_text()) == found, "taken twice, kept once"
    kept.write_text(json.dumps(same | earlier | {"vllm": "0.31.0"}))
    add_distances(new, kept)
    assert list(json.loads(kept.read_text())["distances"]) == ["fp8"]


def test_every_kind_of_step_of_every_plan_has_a_way():
    kinds = {type(step) for plan in PLANS.values() for step in plan(load_target("h100"))}
    every = {Job, Notebook, Tuning, Steps, Routing, Answers, Hunt, Tools, ToolLoad, Copies, Recurring}
    assert kinds | {Steps} == driver.WAYS.keys() == every


def test_each_copy_is_asked_as_much_in_every_way():
    assert [name for name, *_ in ways(4)][1:4] == [
        "four copies, a client each",
        "router, one client",
        "router, four clients",
    ]
    for copies in (2, 4):
        for _, clients, _, asked in ways(copies):
            assert clients * times(waves([64])[0], asked // clients).concurrency == 64 * asked


def test_copies_share_the_gpus_evenly():
    copies, large = Job("c", "gpt-oss-20b", [], needs=4, replicas=4), Job("l", "gpt-oss-120b", [], needs=4)
    assert (copies.size, copies.needs) == (1, 4) and (large.size, large.replicas) == (4, 1)


def test_a_sweep_that_was_cut_off_names_what_it_lacks():
    load = [*waves([1, 4]), *plan([1, 16], 8192, 1024)]
    one = Point.model_validate(point() | {"concurrency": 4})
    taken = one.model_copy(update={"input_tokens": 1024, "output_tokens": 1024})
    assert missing(load, [taken]) == "concurrency 1 at 1,024/1,024 tokens; concurrency 1, 16 at 8,192/1,024 tokens"
    every = [taken.model_copy(update={"concurrency": x.concurrency, "input_tokens": x.input_tokens}) for x in load]
    assert missing(load, every) == ""


def test_a_cut_off_sweep_is_taken_with_what_it_has_and_a_failed_one_is_not(tmp_path):
    raw = record() | {"target": "h200", "model": "gpt-oss-20b", "weights": "synthetic"}
    cut = raw | {"state": "failed", "why": "not taken: concurrency 64 at 1,024/1,024 tokens"}
    for name, content in (("cut", cut), ("broken", raw | {"state": "failed", "why": "the server died"})):
        (tmp_path / "campaign" / name).mkdir(parents=True)
        (tmp_path / "campaign" / name / "record.json").write_text(json.dumps(content))
    take(tmp_path / "campaign", tmp_path / "records", None)
    found = {r.state: r for r in load_records("h200", tmp_path / "records")}
    assert "concurrency 64" in found["passed"].notes[-1] and found["passed"].why == ""
    assert found["failed"].why == "the server died"


@pytest.mark.real
def test_a_sweep_that_fails_is_no_cut_off_sweep(tmp_path, monkeypatch):
    """Its points stay on record as those of a failed run; only the end of the borrowed time lets a short sweep pass."""
    made = Campaign(tmp_path, sys.executable, "h200")
    made.facts["versions"] = {"vllm": "0.25.1"}
    server = SimpleNamespace(base_url="", startup_s={}, stop=lambda: "stopped", commands=[bare_command("W", "m", 1)])
    taken = Point.model_validate(point())

    def sweep(*_, progress, **__):
        progress({"event": "point", "measured": taken})
        raise RuntimeError("the server died")

    for name, own in (("sweep", sweep), ("LoadWorker", lambda *_: nullcontext())):
        monkeypatch.setattr(measuring, name, own)
    monkeypatch.setattr(Campaign, "checkpoint", lambda *_: tmp_path)
    monkeypatch.setattr(Campaign, "launch", lambda *_: server)
    job = Job("20b-x", "gpt-oss-20b", plan([taken.concurrency, 9], taken.input_tokens, taken.output_tokens))
    run_campaign(made, [job])
    take(tmp_path, tmp_path / "records", None)
    (found,) = load_records("h200", tmp_path / "records")
    assert (found.state, found.why) == ("failed", "failed: the server died") and len(found.throughput) == 1


def test_records_of_one_command_make_one_curve_and_a_newer_command_replaces_it():
    first = RunRecord.model_validate(record() | {"target": "h200", "model": "gpt-oss-20b", "weights": "synthetic"})
    p = first.throughput[0]
    more = first.model_copy(update={"throughput": [p.model_copy(update={"concurrency": p.concurrency + 1})]})
    (both,) = curves([first, more], "gpt-oss-20b", p.input_tokens, p.output_tokens).values()
    assert [x.concurrency for x in both] == sorted({*(x.concurrency for x in first.throughput), p.concurrency + 1})
    pair = [p, *more.throughput]
    other = more.model_copy(update={"argv": [*more.argv, "--enforce-eager"], "throughput": pair})
    alone = other.model_copy(update={"throughput": pair[:1]})
    lengths = ("gpt-oss-20b", p.input_tokens, p.output_tokens)
    assert list(curves([first, other], *lengths).values()) == [pair]
    assert list(curves([first, alone], *lengths).values()) == [first.throughput], "one point replaces no curve"
    switched = other.model_copy(update={"argv": more.argv, "env": {"VLLM_X": "1"}})
    assert list(curves([first, switched], *lengths).values()) == [pair], "another switch is another command"
    again = [curve for curve in curves([first, other, more], *lengths).values()]
    assert [len(curve) for curve in again] == [len(both)], "a command between two of another does not part them"
    moved = more.model_copy(update={"argv": [*more.argv[:2], "/elsewhere", *more.argv[3:]]})
    assert len(curves([first, moved], *lengths)["TP1"]) == len(both), "where the checkpoint lay does not matter"
    argv = list(more.argv)
    argv[argv.index("--port") + 1] = "5"
    ported = more.model_copy(update={"argv": argv})
    (joined,) = curves([first, ported], "gpt-oss-20b", p.input_tokens, p.output_tokens).values()
    assert len(joined) == len(both)


def test_of_two_equal_points_the_newer_counts_and_of_three_the_median():
    record_of = RunRecord.model_validate(record() | {"target": "h200", "model": "gpt-oss-20b", "weights": "synthetic"})
    p = record_of.throughput[0]

    def taken(output_tok_s: float) -> RunRecord:
        return record_of.model_copy(update={"throughput": [p.model_copy(update={"output_tok_s": output_tok_s})]})

    def drawn(*takes: float) -> list[float]:
        (curve,) = curves([taken(one) for one in takes], "gpt-oss-20b", p.input_tokens, p.output_tokens).values()
        return [point.output_tok_s for point in curve]

    assert drawn(3, 2) == [2] and drawn(1, 3, 2) == [2] and drawn(9, 1, 2) == [2] and drawn(4, 1, 2, 3) == [2]


@pytest.mark.real
def test_prompts_that_come_back_meet_servers_that_differ_by_the_fragment_alone(tmp_path):
    made = Campaign(tmp_path, sys.executable, "h100", slots=2)
    _, *both = PLANS["copies"](made.target)
    argv = [
        command(made, Job(step.name, step.model, [step.load], step.lever, arguments=step.arguments), "W", 8000).argv
        for step in both
    ]
    more = [word for word in argv[0] if word not in argv[1]]
    assert more[0] == "--kv-transfer-config" and "SimpleCPUOffloadConnector" in more[1] and len(more) == 2
    assert "--no-enable-prefix-caching" not in argv[0] and both[0].load == both[1].load


def test_cores_in_use_are_counted_by_process(tmp_path):
    before = used({"this": [os.getpid()], "gone": [2**22 + 1]})
    ends = time.process_time() + 0.2
    while time.process_time() < ends:
        pass
    after = used({"this": [os.getpid()], "gone": [2**22 + 1]})
    assert 0.15 < after["this"] - before["this"] < 0.5 and after["gone"] == 0 and after["free"] >= before["free"]


def test_a_servers_log_says_what_it_had_in_flight_between_two_times(tmp_path):
    line = "(APIServer pid=1) INFO 11-27 22:24:{} [loggers.py:335] Engine 000: Avg prompt throughput: 1.0, Running: {} reqs"
    (tmp_path / "log").write_text(
        "\n".join(line.format(*one) for one in (("05", 368), (15, 256), (25, 9))) + "\nINFO else\n"
    )
    at = [datetime(2026, 11, 27, 22, 24, second) for second in (5, 20)]
    assert in_flight(tmp_path / "log", *at) == [368, 256]


ONE = {"input_tokens": 1024, "output_tokens": 1024, "itl_ms": {"p99": 432.1}, "tpot_ms": {"p50": 18.4, "p99": 100.0}}
CORES = {"copy 0": 1.0, "copy 1": 1.5, "router": 0.5, "client 0": 1.0, "free": 28.0}
COPIED = {
    "model": "gpt-oss-20b",
    "gpu": "NVIDIA H100",
    "cores": 32,
    "vllm": "0.32.0",
    "day": "2026-11-27",
    "rows": [
        {"asked": name, "users_per_copy": 64, "output_tok_s_per_copy": rate, "cores": CORES, "time_in_common": common}
        | {"points": [ONE], "copies": 1 if name == "one copy" else 2}
        for name, rate, common in (
            ("one copy", 6000.0, 1.0),
            ("router, two clients", 4500.0, 0.95),
            ("apart", 1.0, 0.4),
        )
    ],
}
LOADED = {
    "model": "gpt-oss-20b",
    "gpu": "NVIDIA H100",
    "cores": 16,
    "vllm": "0.32.0",
    "conversations": 50,
    "rows": [
        {
            "beside": name,
            "calls": 90 * (WAYS[name] is not None),
            "calls_per_s": 45.0,
            "call_p50_ms": 5.0,
            "call_p99_ms": 31.0,
        }
        | {"point": point() | {"concurrency": 64, "output_tok_s": 6000.0 - 600 * number}}
        for number, name in enumerate(WAYS)
    ],
}


def test_the_page_shows_who_takes_what_copies_lose(tmp_path):
    assert shares(tmp_path / "none.json") == UNKNOWN
    (tmp_path / "copies.json").write_text(json.dumps(COPIED))
    text = shares(tmp_path / "copies.json")
    assert "Two copies of gpt-oss-20b on as many NVIDIA H100, a host of 32 CPU cores" in text
    assert "| 64 | one copy | 6,000 | 1.00x | 432 ms | not kept | 2.5 | 0.5 | 1.0 | 28.0 |" in text
    assert "| 64 | router, two clients | 4,500 | 0.75x |" in text and "apart (only 40% of the time together)" in text
    assert (
        "router, two clients 0.75x at 64; apart 0.00x at 64. In each run 28 cores or more were free on average." in text
    )
    assert "Why the router lost" not in text


@pytest.mark.parametrize(
    ("policy", "sizes", "said"), [("round_robin", "64", 2), ("round_robin", "512", 1), ("cache_aware", "64", 0)]
)
def test_the_page_says_why_where_a_router_that_takes_turns_filled_one_copy(tmp_path, policy, sizes, said):
    rows = [one | {"in_flight": [[64, 1], [64, 127]] if one["copies"] == 2 else [[64]]} for one in COPIED["rows"]]
    argv = ["--stream-interval", "20", "--cudagraph-capture-sizes", "1", sizes, "--no-enable-prefix-caching"]
    (tmp_path / "copies.json").write_text(
        json.dumps(COPIED | {"rows": rows, "router": ["--policy", policy], "argv": argv})
    )
    text = shares(tmp_path / "copies.json")
    assert "| 432 ms | 127 |" in text
    assert ("one copy had 127 of 128 in flight" in text) + (f"up to {sizes} requests only" in text) == said
    assert ("reached 100 ms, against a median of 18 ms for one" in text) == (
        said == 2
    ) and "does not explain" not in text


def test_the_page_sets_the_routers_policy_beside_the_one_that_takes_turns(tmp_path):
    """The older measurement is kept beside the newer one; a copy that gathered requests is named."""
    own = tmp_path / "h200" / "evidence" / "gpt-oss-20b-copies.json"
    own.parent.mkdir(parents=True)
    rows = [one | {"in_flight": [[64], [64]]} for one in COPIED["rows"]]
    older = [one | {"in_flight": [[64], [127]], "output_tok_s_per_copy": 3000.0} for one in rows[1:]]
    own.write_text(json.dumps(COPIED | {"rows": rows, "router": ["--policy", "cache_aware"]}))
    assert "What the router's policy changes" not in shares(own)
    (own.parent / "gpt-oss-20b-copies-round_robin.json").write_text(json.dumps(COPIED | {"rows": [rows[0], *older]}))
    assert routed(own, 2) == ("4,500 at concurrency 128", "54.3", "", "0.32.0") and routed(own, 4) == ()
    text = shares(own)
    assert "`cache_aware`, and no copy had more than 64 requests in flight. With `round_robin` the same 64" in text
    assert "gave 0.50x through the router, with up to 127 in flight on one copy (2026-11-27, another host)" in text
    gathered = [one | {"in_flight": [[64, 1], [64, 127]] if one["copies"] == 2 else [[64]]} for one in COPIED["rows"]]
    other = tmp_path / "h100" / "evidence" / own.name
    other.parent.mkdir(parents=True)
    argv = ["--cudagraph-capture-sizes", "1", "64"]
    other.write_text(json.dumps(COPIED | {"rows": gathered, "router": ["--policy", "round_robin"], "argv": argv}))
    assert "copies were measured on h200; the study of that target" in shares(other)
    own.unlink()
    assert "With it these loads were not measured on GPUs." in shares(other)
    assert routed(other, 2) == (), "behind a router that takes turns"


def test_the_page_shows_what_tools_cost_a_server_under_load(tmp_path):
    assert beside_tools(tmp_path / "none.json") == ""
    (tmp_path / "load.json").write_text(json.dumps(LOADED))
    text = beside_tools(tmp_path / "load.json")
    assert "gpt-oss-20b at 64 requests at once" in text and "NVIDIA H100 with 16 CPU cores" in text
    assert "| alone | 6,000 | 1.00x |" in text and text.splitlines()[-8].endswith("| none | |")
    assert "| beside 50 conversations, no pause | 4,800 | 0.80x |" in text and "| 45.0 | 31 |" in text
    assert "Two runs of the same differ by up to 60%." in text
    assert "0.88x with a second between calls and 0.76x with no pause (means)" in text


def test_a_study_says_what_copies_and_tools_cost_where_a_campaign_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "RECORDS", tmp_path)
    assert "What do python sandboxes" not in str(answers.answers("h100"))
    kept = tmp_path / "h100" / "evidence"
    kept.mkdir(parents=True)
    (kept / "gpt-oss-20b-tool-load.json").write_text(json.dumps(LOADED))
    (kept / "gpt-oss-20b-copies.json").write_text(json.dumps(COPIED))
    (tmp_path / "h200").symlink_to("h100")  # its records of copies have a table of their own, which says so already
    assert str(answers.answers("h200")).count("Do copies lose throughput, and where?") == 1
    told = str(answers.answers("h100"))
    assert told.count("What do python sandboxes") == told.count("Do copies lose throughput, and where?") == 1
