"""The H200 campaign's plan, its way through steps that fail or come too late, and the way into the records."""

import json
import sys
import tarfile
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from test_bench_record import point, record

from benchmarks.h200 import campaign as driver
from benchmarks.h200 import measure as measuring
from benchmarks.h200 import probes
from benchmarks.h200.campaign import Campaign, pack, run_campaign
from benchmarks.h200.import_results import take
from benchmarks.h200.measure import command, missing
from benchmarks.h200.plan import PLANS, Answers, Job, Routing, Steps, Tuning, short
from helpers.bench import RunRecord
from helpers.bench.record import Point
from helpers.bench.records import curves, load_records
from helpers.bench.sweep import plan
from helpers.recipes.tuning import load_space, load_spaces


def jobs(name: str) -> list[Job]:
    return [s for lanes in PLANS[name]() for lane in lanes for s in lane if isinstance(s, Job)]


@pytest.mark.parametrize("name", ["two", "one"])
def test_the_plan_holds_what_the_pages_need(name):
    by_name = {job.name: job for job in jobs(name)}
    for wanted in ("20b-tp1", "120b-tp1"):
        loads = by_name[wanted].loads
        assert [x.concurrency for x in loads if x.input_tokens == 1024] == [1, 4, 16, 64, 128, 256, 512]
        assert [x.concurrency for x in loads if x.input_tokens == 8192] == [1, 16, 64]
        assert all(x.prompts >= (2 if x.concurrency == 512 else 3) * x.concurrency for x in loads)
        assert "--no-enable-prefix-caching" in by_name[wanted].arguments


@pytest.mark.parametrize("name", sorted(PLANS))
def test_lanes_that_run_side_by_side_never_share_a_gpu(name):
    for lanes in PLANS[name]():
        used = [{gpu for step in lane for gpu in step.gpus} for lane in lanes]
        assert sum(map(len, used)) == len(set().union(*used))


@pytest.mark.real
def test_a_tuning_sees_its_own_gpu_only(tmp_path, monkeypatch):
    made = Campaign(tmp_path / "out", sys.executable, "h200")
    script = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], *sys.argv[1:])"
    monkeypatch.setattr(driver.Campaign, "checkpoint", lambda *_: tmp_path)
    tune = tmp_path / "python"
    tune.write_text(f"#!{sys.executable}\n{script}\n")
    tune.chmod(0o755)
    monkeypatch.setattr(probes.sys, "executable", str(tune))
    first = [{"moe-backend": "marlin"}]
    step = Tuning("t", "gpt-oss-20b", (1,), "latency", [1, 4], 3, first)
    run_campaign(made, [[[step]]])
    log = (tmp_path / "out" / "events.log").read_text()
    assert "1 -m helpers.cli tune h200" in log and "--concurrency 1,4 --trials 3" in log
    assert "t              passed" in log
    space = load_spaces(tmp_path / "out" / "t" / "space.yaml")
    assert list(space) == ["hopper"] and space["hopper"].first == {"latency": first}
    assert space["hopper"].knobs == load_space("h200", "gpt-oss-20b")[1].knobs


@pytest.mark.real
def test_a_step_that_fails_or_comes_late_stops_nothing(tmp_path, monkeypatch):
    def job(campaign, step, folder):
        if step.name == "bad":
            raise RuntimeError("it broke")
        (folder / "record.json").write_text('{"state": "passed"}')

    monkeypatch.setitem(driver.WAYS, Job, job)
    steps = [Job(name, "gpt-oss-nano", (), []) for name in ("bad", "good")]
    late = Job("late", "gpt-oss-nano", (), [], latest_s=-1)
    run_campaign(Campaign(tmp_path / "out", sys.executable, "h200"), [[steps, [late]], [[steps[1]]]])
    log = (tmp_path / "out" / "events.log").read_text()
    assert "bad            FAILED: it broke" in log and "late           skipped" in log
    assert log.count("good           begins") == 1 and "good           done before" in log
    assert "RuntimeError: it broke" in (tmp_path / "out" / "errors.log").read_text()
    assert log.splitlines()[-1].endswith("ended")


@pytest.mark.real
def test_a_server_command_is_the_recipes_with_the_named_additions(tmp_path):
    made = Campaign(tmp_path, sys.executable, "h200")
    by_name = {job.name: command(made, job, "W", 8000) for job in jobs("two")}
    argv, env = by_name["120b-tp2"]
    assert argv[:3] == ["vllm", "serve", "W"] and argv[argv.index("--tensor-parallel-size") + 1] == "2"
    assert env["CUDA_VISIBLE_DEVICES"] == "0,1" and "--stream-interval" in argv
    assert by_name["20b-async-off"][0] == [*by_name["20b-tp1"][0], "--no-async-scheduling"]
    assert by_name["20b-dummy"][0][-2:] == ["--load-format", "dummy"]
    assert "--stream-interval" not in by_name["20b-bare"][0]


def test_results_become_records_and_curves(tmp_path):
    out, records = tmp_path / "campaign", tmp_path / "records"
    raw = record() | {"target": "h200", "model": "gpt-oss-20b", "weights": "synthetic", "commit": "unknown"}
    raw["parameters"] = {"tensor_parallel_size": 2, "variant": ""}
    off = raw | {"parameters": {"tensor_parallel_size": 2, "variant": "async scheduling off"}}
    for name, content in (
        ("a", raw),
        ("b", off),
        ("20b-dummy", {"weights": "dummy", "throughput": [point()]}),
    ):
        (out / name).mkdir(parents=True)
        (out / name / "record.json").write_text(json.dumps(content))
    (out / "20b-routing").mkdir()
    (out / "20b-routing" / "routing-dummy.json").write_text("{}")
    pack(out, tmp_path / "x.tgz")
    with tarfile.open(tmp_path / "x.tgz") as tar:
        assert "campaign/a/record.json" in tar.getnames()
    take(out, records, "f" * 40)
    found = load_records("h200", records)
    assert len(found) == 2 and {r.commit for r in found} == {"f" * 40}
    kept = {file.name for file in (records / "evidence").iterdir()}
    assert kept == {"gpt-oss-20b-dummy.json", "gpt-oss-20b-routing-dummy.json"}
    assert list(curves(found, "gpt-oss-20b", 64, 101)) == ["TP2"]
    assert list(curves(found, "gpt-oss-20b", 64, 101, variants=True)) == ["TP2", "TP2 async scheduling off"]
    assert isinstance(found[0], RunRecord)


@pytest.mark.real
def test_routing_steps_are_part_of_the_campaign(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setitem(driver.WAYS, Routing, lambda campaign, step, folder: seen.append(step.name))
    run_campaign(Campaign(tmp_path, sys.executable, "h200"), [[[Routing("r", "gpt-oss-20b", (0,))]]])
    assert seen == ["r"]


def test_every_kind_of_step_of_every_plan_has_a_way():
    kinds = {type(step) for plan in PLANS.values() for lanes in plan() for lane in lanes for step in lane}
    assert kinds == driver.WAYS.keys() == {Job, Tuning, Steps, Routing, Answers}


def test_copies_share_the_gpus_evenly():
    (copies,) = [job for job in jobs("four") if job.replicas > 1]
    (large,) = [job for job in jobs("four") if job.name == "120b-tp4"]
    assert (copies.size, len(copies.gpus)) == (1, 4) and (large.size, large.replicas) == (4, 1)


def test_a_sweep_that_was_cut_off_names_what_it_lacks():
    load = Job("j", "gpt-oss-20b", (0,), [*short([1, 4]), *plan([1, 16], 8192, 1024)])
    one = Point.model_validate(point() | {"concurrency": 4})
    taken = one.model_copy(update={"input_tokens": 1024, "output_tokens": 1024})
    assert missing(load, [taken]) == "concurrency 1 at 1,024/1,024 tokens; concurrency 1, 16 at 8,192/1,024 tokens"
    every = [taken.model_copy(update={"concurrency": x.concurrency, "input_tokens": x.input_tokens}) for x in load.loads]
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
    server = SimpleNamespace(base_url="", startup_s={}, stop=lambda: "stopped")
    taken = Point.model_validate(point())

    def sweep(*_, progress, **__):
        progress({"event": "point", "measured": taken})
        raise RuntimeError("the server died")

    for name, own in (("start", lambda *_: server), ("sweep", sweep), ("LoadWorker", lambda *_: nullcontext()),
                      ("memory", lambda log: {}), ("backends", lambda log: {})):  # fmt: skip
        monkeypatch.setattr(measuring, name, own)
    monkeypatch.setattr(Campaign, "checkpoint", lambda *_: tmp_path)
    job = Job("20b-x", "gpt-oss-20b", (0,), plan([taken.concurrency, 9], taken.input_tokens, taken.output_tokens))
    run_campaign(made, [[[job]]])
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
