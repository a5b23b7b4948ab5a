"""The tuner's decisions and its memory, without a server: choice, the 0.98 rule, resuming, failures, bad input."""

import json
import multiprocessing
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from tune_parts import REFUSED, SMALL, Servers, point, speeds, tuner

from helpers import paths
from helpers.bench.tune import Objective, Study, Trial, TuningPlan, chosen, profile, table, verdicts
from helpers.bench.tune.plan import label, product
from helpers.errors import CookbookError, UsageError
from helpers.recipes import Target, load_target, target_names
from helpers.recipes.block import serve_block
from helpers.recipes.files import RecipeError
from helpers.recipes.tuning import Space, load_space, load_spaces


def states(study: Study) -> dict[str, str]:
    return {label(v.trial.values): v.state for v in verdicts(study)}


# --- the choice


def test_the_fastest_that_is_nowhere_clearly_worse_is_chosen(tmp_path: Path) -> None:
    study = tuner(tmp_path, Servers(tmp_path)).run()
    assert states(study) == {
        "max-num-seqs 128, max-num-active-seqs 2": "worse at a point",  # 1.20x at 2, but 0.90x at 1
        "max-num-seqs 128, max-num-active-seqs 64": "chosen",
        "max-num-seqs 2, max-num-active-seqs 64": "failed",
        "max-num-seqs 2, max-num-active-seqs 2": "slower",
    }
    won = chosen(study)
    assert won.gain == pytest.approx(1.1) and won.ratios == pytest.approx([1.01, 1.1])
    assert study.chosen == won.trial.name


@pytest.mark.parametrize(("at_one", "state"), [(98.01, "chosen"), (97.9, "worse at a point")])
def test_the_line_is_at_098(tmp_path: Path, at_one: float, state: str) -> None:
    values = lambda v: [at_one, 220] if v == {"max-num-seqs": 2, "max-num-active-seqs": 2} else [100, 199]  # noqa: E731
    study = tuner(tmp_path, Servers(tmp_path, lambda v: values(v) if v else [100, 200])).run()
    assert states(study)["max-num-seqs 2, max-num-active-seqs 2"] == state


def test_nothing_is_chosen_where_bare_is_as_good(tmp_path: Path) -> None:
    study = tuner(tmp_path, Servers(tmp_path, lambda values: [100, 200])).run()
    assert study.chosen is None and set(states(study).values()) == {"not better"}
    assert "none, no configuration beats bare" in table.text(study)
    with pytest.raises(UsageError, match="no profile to write"):
        profile.block(TuningPlan("cpu", "throughput", None, SMALL), study)


def test_each_objective_looks_at_its_own_figure() -> None:
    bare, own = [point(1, 100), point(2, 200)], [point(1, 125), point(2, 190)]
    assert Objective("throughput").gain(bare, own) == pytest.approx(0.95)
    assert Objective("latency").gain(bare, own) == pytest.approx(1.25)  # TPOT is four fifths
    assert Objective("latency").ratios(bare, own) == pytest.approx([1.25, 0.95])
    under = Objective("throughput-under-tpot", 9.0)  # bare keeps it at both points, `own` at concurrency 1 only
    assert under.gain(bare, own) == pytest.approx(125 / 200)
    tight = Objective("throughput-under-tpot", 8.0)  # only `own` at concurrency 1 (7.2 ms)
    assert tight.best(own).concurrency == 1 and tight.best(bare) is None and tight.gain(bare, own) is None


def test_a_limit_that_bare_breaks_names_it(tmp_path: Path) -> None:
    study = tuner(tmp_path, Servers(tmp_path), "throughput-under-tpot", 0.5).run()
    causes = {v.cause for v in verdicts(study) if v.state == "over the limit"}
    assert causes == {"bare keeps 0.5 ms at no point"} and study.chosen is None


def test_two_gpus_are_loaded_and_counted_per_gpu() -> None:
    plan = TuningPlan("h200", "throughput", None, {"model": "gpt-oss-20b", "concurrency": [8]}, gpus=2)
    two = plan.proposal({"tensor_parallel_size": 2}, "", 8000)
    assert two.gpus == 2 and [load.concurrency for load in plan.loads(2)] == [16]
    assert "--tensor-parallel-size 2" in " ".join(two.command.argv)
    latency = TuningPlan("h200", "latency", None, {"model": "gpt-oss-20b", "concurrency": [1]}, gpus=2)
    assert [load.concurrency for load in latency.loads(2)] == [1], "a user's latency is one request on one server"
    assert "tensor_parallel_size" in TuningPlan("h200", "throughput", gpus=1).left_out


# --- the memory


def test_a_second_call_measures_nothing_again(tmp_path: Path) -> None:
    servers = Servers(tmp_path)
    first = tuner(tmp_path, servers).run()
    second = tuner(tmp_path, servers).run()
    assert len(servers.starts) == 5 and len(second.calls) == 2
    assert [call.starts for call in second.calls] == [5, 0]
    assert second.trials == first.trials and second.chosen == first.chosen


def test_bounds_count_what_is_on_file(tmp_path: Path) -> None:
    servers = Servers(tmp_path)
    assert len(tuner(tmp_path, servers).run(trials=1).trials) == 1
    study = tuner(tmp_path, servers).run(trials=2)
    assert len(study.trials) == 2 and study.calls[-1].ended == "2 configurations were tried"
    study = tuner(tmp_path, servers).run(minutes=0)
    assert len(study.trials) == 2 and study.calls[-1].ended == "the minutes were over"
    assert len(tuner(tmp_path, servers).run().trials) == 4 and len(servers.starts) == 5


def test_an_interruption_keeps_what_was_measured(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tuner(tmp_path, Servers(tmp_path, interrupt_at=3)).run()
    study = Study.read(tmp_path / "study" / "study.json")
    assert len(study.trials) == 2 and study.calls[-1].ended == "it was interrupted"
    servers = Servers(tmp_path)
    assert len(tuner(tmp_path, servers).run().trials) == 4 and len(servers.starts) == 2


def _killed(folder: Path, at: int) -> None:
    tuner(folder, Servers(folder, die_at=at)).run()


@pytest.mark.parametrize("at", [0, 1, 3, 4])
@pytest.mark.real
def test_a_killed_tuner_goes_on_where_it_was(tmp_path: Path, at: int) -> None:
    """Killed while the baseline, the first, the third, the last configuration is measured."""
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(tmp_path, at))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    servers = Servers(tmp_path)
    study = tuner(tmp_path, servers).run()
    assert len(study.trials) == 4 and study.chosen
    assert len(servers.starts) == 5 - at, "what was on file is not measured again"
    cut_off, again = servers.all_starts()[at], servers.starts[0]
    assert cut_off == again or again in product(TuningPlan("cpu", "throughput", None, SMALL).knobs)
    assert len(servers.all_starts()) == 6, "one start was lost, the others count once"


def test_another_study_is_not_mixed_in(tmp_path: Path) -> None:
    tuner(tmp_path, Servers(tmp_path)).run(trials=1)
    with pytest.raises(UsageError, match="holds another study"):
        tuner(tmp_path, Servers(tmp_path), "latency").run()
    study = tuner(tmp_path, Servers(tmp_path), "latency", fresh=True).run(trials=1)
    assert study.objective == "latency"
    assert Study.read(tmp_path / "study" / "earlier-1" / "study.json").objective == "throughput"


def test_two_tuners_do_not_share_a_folder(tmp_path: Path) -> None:
    one, other = tuner(tmp_path, Servers(tmp_path)), tuner(tmp_path, Servers(tmp_path))
    with one.alone(), pytest.raises(UsageError, match="another `cookbook tune` works"):
        other.run()


def test_a_damaged_study_is_named(tmp_path: Path) -> None:
    tuner(tmp_path, Servers(tmp_path)).run(trials=1)
    (tmp_path / "study" / "study.json").write_text('{"schema": 2}')
    with pytest.raises(CookbookError, match="is not a study of a tuning"):
        tuner(tmp_path, Servers(tmp_path)).run()


def test_one_start_for_each_distinct_command(tmp_path: Path, monkeypatch) -> None:
    """Values that lead to the same command (a known limit wins over one of them) share its one start."""
    plan = TuningPlan("cpu", "throughput", None, SMALL)
    monkeypatch.setattr(
        plan, "proposal", lambda values, *rest, own=plan.proposal: own(values | {"max-num-seqs": 2}, *rest)
    )
    servers = Servers(tmp_path)
    study = tuner(tmp_path, servers, plan=plan).run()
    assert len(servers.starts) == 3 and len(study.trials) == 2


# --- failures


def test_a_failed_configuration_is_on_record_with_its_cause(tmp_path: Path) -> None:
    said: list[str] = []
    study = tuner(tmp_path, Servers(tmp_path), said=said).run()
    failed = [trial for trial in study.trials if trial.state == "failed"]
    assert [trial.cause for trial in failed] == [REFUSED] and not failed[0].points
    assert any(REFUSED[:40] in line for line in said) and REFUSED[:40] in table.text(study)


def test_a_failed_baseline_ends_the_tuning(tmp_path: Path) -> None:
    servers = Servers(tmp_path, lambda values: [1, 2] if values else None)
    with pytest.raises(CookbookError, match=r"bare .* could not be measured.*because ValueError"):
        tuner(tmp_path, servers).run()
    assert len(servers.starts) == 1
    assert len(tuner(tmp_path, Servers(tmp_path)).run().trials) == 4, "and the next call measures it again"


def test_a_study_says_what_it_is(tmp_path: Path) -> None:
    study = tuner(tmp_path, Servers(tmp_path)).run()
    whole = json.loads((tmp_path / "study" / "study.json").read_text())
    assert Study.model_validate(whole) == study
    failed = lambda d: next(trial for trial in d["trials"] if trial["cause"])  # noqa: E731
    for break_it in (
        lambda d: d["trials"].append(d["trials"][0]),
        lambda d: d.update(chosen="ffffffff"),
        lambda d: d["trials"][0]["points"].pop(),
        lambda d: failed(d).update(cause=""),
        lambda d: d.update(unknown=1),
    ):
        copy = json.loads(json.dumps(whole))
        break_it(copy)
        with pytest.raises(ValueError):
            Study.model_validate(copy)
    secret = dict(whole["trials"][0], env={"HF_TOKEN": "hf_x"}, argv=["vllm", "--api-key", "k"])
    kept = Trial.model_validate(secret)
    assert kept.env == {"HF_TOKEN": "***"} and "k" not in kept.argv


# --- the search


def large() -> TuningPlan:
    return TuningPlan("h200", "throughput", None, {"model": "gpt-oss-20b", "concurrency": [256]}, gpus=1)


def test_a_large_space_is_tried_in_order_and_what_helped_alone_together(tmp_path: Path) -> None:
    """Of 1,944 combinations a score of starts finds one near the best: no start is repeated."""
    plan = large()
    assert not plan.grid and plan.size == 1944

    def speed(values: dict) -> list[float]:
        faster = {
            "moe-backend": "marlin",
            "kv-cache-dtype": "fp8",
            "stream-interval": 20,
            "max-num-batched-tokens": 16384,
        }
        return [1000 * (1 + 0.1 * sum(values.get(name) == value for name, value in faster.items()))]

    servers = Servers(tmp_path, speed)
    study = tuner(tmp_path, servers, plan=plan).run()
    assert len(servers.starts) == 1 + len(plan.candidates) + 1 <= 24
    assert len({json.dumps(v, sort_keys=True) for v in servers.starts}) == len(servers.starts)
    assert chosen(study).gain >= 1.3, "at least three of the four that help"
    defaults = {name: None for name in plan.knobs}
    begun = [defaults | values for values in plan.space.first["throughput"]]
    assert begun and servers.starts[1 : 1 + len(begun)] == begun, "what the space names comes first"
    assert study.calls[-1].ended == "every candidate was tried"
    again = Servers(tmp_path, speed)
    assert tuner(tmp_path, again, plan=plan).run().trials == study.trials and again.starts == []


def test_a_large_space_without_first_configurations_begins_with_the_defaults() -> None:
    plan = large()
    plan.space = plan.space.model_copy(update={"first": {}})
    assert plan.candidates[0] == {name: knob.values[0] for name, knob in plan.knobs.items()}


def test_the_best_value_of_each_knob_is_put_together(tmp_path: Path) -> None:
    """One that lost alone stays out, and so does one that was only measured beside another."""
    plan = large()
    speed = {"marlin": 1100, "humming": 1200, 4096: 1150, "fp8": 900}
    servers = Servers(tmp_path, lambda v: [max((speed.get(value, 1000) for value in v.values()), default=1000)])
    tuner(tmp_path, servers, plan=plan).run()
    helped = {name: value for name, value in servers.starts[-1].items() if value is not None}
    assert helped == {"moe-backend": "humming", "max-num-batched-tokens": 4096}


def test_a_space_names_only_what_it_varies() -> None:
    good = SPACE | {"first": {"latency": [{"max-num-seqs": 2}]}}
    assert Space(**good).first
    for values in ({"max-num-seqs": 3}, {"stream-interval": 20}):
        with pytest.raises(ValueError, match=r"first\.latency: .* is not among the knobs' values"):
            Space(**SPACE | {"first": {"latency": [values]}})


# --- the spaces


def test_every_target_has_a_space_for_its_models() -> None:
    for name in target_names():
        target = load_target(name)
        for model in target.models:
            if (name, model) != ("cpu", "gpt-oss-20b"):  # too slow on any CPU to be searched
                assert load_space(name, model)[1].knobs
    named = [target for space in load_spaces().values() for target in space.targets]
    assert sorted(named) == sorted(target_names())


SPACE = {"targets": ["cpu"], "knobs": {"max-num-seqs": {"values": [1, 2], "why": "a test", "source": "a test"}}}


KNOB = SPACE["knobs"]["max-num-seqs"]


def space_file(tmp_path: Path, edit) -> Path:
    content = json.loads(json.dumps({"mine": SPACE}))
    edit(content["mine"])
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda s: s["knobs"].update({"speculative-config": SPACE["knobs"]["max-num-seqs"]}), "acceptance of drafts"),
        (lambda s: s["knobs"].update({"Max_Seqs": SPACE["knobs"]["max-num-seqs"]}), "not the name of a flag"),
        (lambda s: s["knobs"]["max-num-seqs"].update(values=[1, 1]), "a value stands twice"),
        (lambda s: s["knobs"]["max-num-seqs"].update(values=[1]), "values"),
        (lambda s: s["knobs"]["max-num-seqs"].pop("source"), "source: missing"),
        (lambda s: s["knobs"]["max-num-seqs"].update(kind="parameter"), "no such parameter"),
    ],
)
def test_a_faulty_space_is_named(tmp_path: Path, edit, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        TuningPlan("cpu", "throughput", None, SMALL, space_file(tmp_path, edit))


def test_a_space_for_somebody_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no search space for gpt-oss-nano on cpu"):
        TuningPlan("cpu", "throughput", None, SMALL, space_file(tmp_path, lambda s: s.update(targets=["h200"])))


def test_a_knob_that_the_recipe_overrides_is_left_out(tmp_path: Path) -> None:
    """A limit's flag wins over every profile: varying it would start the same server under several names."""
    file = space_file(tmp_path, lambda s: (s.update(targets=["h100"]), s["knobs"].update({"stream-interval": KNOB})))
    given = {"model": "gpt-oss-120b", "tensor_parallel_size": 1}
    plan = TuningPlan("h100", "throughput", None, given, file, gpus=1)
    assert list(plan.knobs) == ["stream-interval"] and "max-num-seqs" in plan.left_out


# --- the written profile


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch) -> Path:
    """A copy of the recipes that a test may write into."""
    shutil.copytree(paths.RECIPES, tmp_path / "recipes", ignore=shutil.ignore_patterns("records"))
    for name, folder in {
        "ROOT": "",
        "RECIPES": "recipes",
        "TARGETS": "recipes/targets",
        "RECORDS": "recipes/records",
    }.items():
        monkeypatch.setattr(paths, name, tmp_path / folder)
    return tmp_path / "recipes"


def pasted(recipes: Path, plan: TuningPlan, study: Study) -> Path:
    """What a person does with the printed block: it is laid into the recipe, and the study is kept."""

    def laid(old: dict, new: dict) -> dict:
        inner = {
            n: laid(old.get(n) or {}, value) for n, value in new.items() if isinstance(value, dict) and n != "value"
        }
        return old | new | inner

    file = recipes / "targets" / f"{plan.target.target}.yaml"
    file.write_text(yaml.safe_dump(laid(yaml.safe_load(file.read_text()), yaml.safe_load(profile.block(plan, study)))))
    return study.write(profile.record_path(study))


def test_a_pasted_profile_renders_what_was_measured_and_has_its_evidence(tmp_path: Path, recipes: Path) -> None:
    plan = TuningPlan("cpu", "throughput", None, SMALL)
    study = tuner(tmp_path, Servers(tmp_path), plan=plan).run()
    record = pasted(recipes, plan, study)
    target = load_target("cpu")
    setting = target.serve.per_model["gpt-oss-nano"].profiles["throughput"].args["max-num-active-seqs"]
    assert setting.value == 64 and "1.10x output tok/s per GPU of bare vllm serve at concurrency 2" in setting.why
    assert "1.01x at its worst point" in setting.why
    assert tmp_path / setting.source == record and Study.read(record) == study
    assert chosen(Study.read(record)).gain == pytest.approx(1.1)
    assert unsupported(target) == []
    record.write_text(record.read_text().replace('"output_tok_s_per_gpu": 220.0', '"output_tok_s_per_gpu": 210.0'))
    assert len(unsupported(target)) == 2, "the study shows another ratio, or no such choice"
    record.unlink()
    assert "cannot be read" in unsupported(target)[0]
    measured = plan.proposal(chosen(study).trial.values, "", 8000).command
    again = TuningPlan("cpu", "throughput", None, SMALL).serving({}).command("", 8000)
    assert sorted(again.argv) == sorted(measured.argv) and again.env == measured.env


def unsupported(target: Target) -> list[str]:
    """Tuned settings of a recipe whose study is not there, is another's, or does not show what they say."""
    faults = []
    for model, own in target.serve.per_model.items():
        for tuned, settings in own.profiles.items():
            for name, setting in (settings.args | settings.env).items():
                where = f"{target.target}: {model}, {tuned}, {name}"
                if "/tuning/" not in setting.source:
                    continue
                try:
                    study = Study.read(paths.ROOT / setting.source)
                except CookbookError as error:
                    faults.append(f"{where}: {error.line()}")
                    continue
                won = chosen(study)
                shows = won and won.trial.values.get(name) == setting.value and f"gave {won.gain:.2f}x" in setting.why
                if not shows or (study.target, study.model) != (target.target, model):
                    faults.append(f"{where}: {setting.source} does not show it")
    return faults


@pytest.mark.parametrize("name", target_names())
def test_a_tuned_setting_has_its_study(name: str) -> None:
    assert unsupported(load_target(name)) == []


def test_a_default_takes_a_flag_of_the_profile_away(tmp_path: Path, recipes: Path) -> None:
    file = space_file(
        tmp_path,
        lambda s: s["knobs"].update({"enforce-eager": {**SPACE["knobs"]["max-num-seqs"], "values": [None, True]}}),
    )
    plan = TuningPlan("cpu", "latency", None, SMALL, file)
    fast = {"max-num-seqs": 2, "enforce-eager": None}
    study = tuner(tmp_path, Servers(tmp_path, lambda v: [120, 240] if v == fast else [100, 200]), plan=plan).run()
    pasted(recipes, plan, study)
    plan = TuningPlan("cpu", "latency", None, SMALL)
    block = serve_block(plan.target, plan.model, plan.parameters)
    assert "enforce-eager" not in block.args and block.args["max-num-seqs"].value == 2


# --- bad input, at the command line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["h900"], "unknown target 'h900'"),
        (["cpu", "--objective", "speed"], "unknown objective 'speed'; choose one of throughput, latency"),
        (["cpu", "--objective", "throughput-under-tpot"], "needs a limit"),
        (["cpu", "--tpot", "20"], "takes no TPOT limit"),
        (["cpu", "--objective", "latency", "--concurrency", "2,4"], "latency is TPOT at concurrency 1"),
        (["cpu", "--space", "nowhere.yaml"], "there is no file nowhere.yaml"),
        (["cpu", "--weights", "nowhere/at/all"], "weights"),
        (["cpu", "--model", "gpt-oss-20b"], "no search space for gpt-oss-20b on cpu"),
    ],
)
def test_bad_input_is_one_line(cli, words: list[str], said: str) -> None:
    done = cli("tune", *words)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith("cookbook: "), done.stderr
    assert said in lines[0]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        tuner(tmp_path, Servers(tmp_path)).run()


def test_no_path_of_the_machine_is_kept(tmp_path: Path) -> None:
    study = tuner(tmp_path, Servers(tmp_path, lambda v: speeds(v) if v.get("max-num-seqs") != 2 else None)).run()
    assert not re.search(r'"/(?!\S*/)', study.model_dump_json()) and str(paths.ROOT) not in study.model_dump_json()
    assert os.fspath(tmp_path) not in study.model_dump_json()


@pytest.mark.full
def test_a_folder_that_cannot_be_made_at_the_command_line(cli_process, checkpoint: Path) -> None:
    done = cli_process("tune", "cpu", "--study", "/proc/nowhere/study", timeout=300)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2 and len(lines) == 1 and "cannot be written" in lines[0], done.stderr
