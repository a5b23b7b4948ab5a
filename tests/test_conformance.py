"""The recipes before vLLM's own parser: all of them pass, and what is planted fails with file and key."""

import hashlib
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from seed_page import Row, rows

from helpers import paths
from helpers.bench.tune import TuningPlan, session
from helpers.errors import CookbookError
from helpers.recipes import Setting, load_model, load_target, target_names
from helpers.recipes.command.forms import render
from maintain.combinations import Combination, combination, combinations
from maintain.install import FOLDER, InstallRecord, check_install
from maintain.parser import check_commands, summarised
from maintain.releases import check_release, declared_options, table_keys

SEED_AND_TRAPS = {  # argv after the model, variables -> the option or variable that vLLM refuses
    "full_cuda_graph": (["--compilation-config", '{"full_cuda_graph": true}'], {}, "--compilation-config"),
    "abbreviation": (["--max-num-batched", "8192"], {}, "--max-num-batched"),
    "unknown flag": (["--no-such-flag"], {}, "--no-such-flag"),
    "not a choice": (["--moe-backend", "cpu"], {}, "--moe-backend"),
    "attention": (["--attention-backend", "FLASH"], {}, "--attention-backend"),
    "tool parser": (["--tool-call-parser", "gpt-oss"], {}, "--tool-call-parser"),
    "json key": (["--quantization-config", '{"mow": {"activation": "mxfp8"}}'], {}, "--quantization-config"),
    "not a number": (["--max-num-seqs", "many"], {}, "--max-num-seqs"),
    "removed variable": ([], {"VLLM_USE_TRTLLM_ATTENTION": "1"}, "VLLM_USE_TRTLLM_ATTENTION"),
    "bad value": ([], {"VLLM_ROCM_QUICK_REDUCE_QUANTIZATION": "INT5"}, "VLLM_ROCM_QUICK_REDUCE_QUANTIZATION"),
}


def asked() -> list[Row]:
    """The rows of docs/seed.md that say what the parser makes of the guide's line."""
    return [row for row in rows() if row.taken is not None]


@pytest.fixture(scope="module")
def answers(interpreter: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """vLLM's answer to every command of these tests, asked in one process (its import costs 20 seconds)."""
    folder, commands = tmp_path_factory.mktemp("configs"), []
    for one in combinations():
        commands.append({"id": one.id, "argv": one.command.argv[1:], "env": one.command.env})
        if one.parameters.replicas == 1:
            path = folder / f"{len(commands)}.yaml"
            model = load_model(one.parameters.model)
            path.write_text(render("config", one.target, model, one.parameters, one.command))
            commands.append({"id": f"config {one.id}", "argv": ["serve", "--config", str(path)], "env": {}})
    for name, (argv, env, _) in SEED_AND_TRAPS.items():
        commands.append({"id": name, "argv": ["serve", "openai/gpt-oss-20b", *argv], "env": env})
    for number, row in enumerate(asked()):
        argv, env = row.command()
        commands.append({"id": f"seed {number}", "argv": argv, "env": env})
    for name in target_names():
        plan = TuningPlan(name, "throughput", gpus=8)
        for command in session.commands(plan, plan.model.hub_id or plan.model.model):
            commands.append(command | {"id": f"tune {name} {command['id']}"})
    broken = folder / "broken.yaml"
    broken.write_text("model: openai/gpt-oss-20b\nmax-num-seq: 3 # an abbreviation\nstream-interval: 20\n")
    commands.append({"id": "broken config", "argv": ["serve", "--config", str(broken)], "env": {}})
    answer = check_commands(interpreter, commands)
    assert answer["not_checked"] == []
    return {"version": answer["vllm"], **{item["id"]: item for item in answer["answers"]}}


@pytest.mark.real
def test_vllm_takes_every_command_of_every_recipe(answers: dict[str, dict]):
    assert answers["version"].startswith(load_target("cpu").stack.vllm)
    ids = [one.id for one in combinations()]
    assert len(ids) == len(set(ids)) > 400
    assert {identity.split("/")[0] for identity in ids} == set(target_names())
    assert [answers[identity] for identity in ids if answers[identity]["faults"]] == []
    assert [
        answers[identity]
        for identity in ids
        if any("eprecat" in w or "uplicate" in w for w in answers[identity]["warnings"])
    ] == []


@pytest.mark.real
def test_vllm_takes_every_config_file(answers: dict[str, dict]):
    configs = [item for identity, item in answers.items() if identity.startswith("config ")]
    assert len(configs) > 200 and [item for item in configs if item["faults"]] == []
    assert [fault["name"] for fault in answers["broken config"]["faults"]] == ["--max-num-seq"]


@pytest.mark.real
def test_vllm_takes_every_value_of_every_search_space(answers: dict[str, dict]):
    """Each value that `cookbook tune` may try, on every target, and the bare command that it is compared with."""
    tried = [item for identity, item in answers.items() if identity.startswith("tune ")]
    assert len(tried) > 200 and {item["id"].split()[1] for item in tried} == set(target_names())
    assert [item for item in tried if item["faults"]] == []
    assert [item for item in tried if any("eprecat" in warning for warning in item["warnings"])] == []


@pytest.mark.real
@pytest.mark.parametrize("name", SEED_AND_TRAPS)
def test_vllm_refuses_what_is_wrong(answers: dict[str, dict], name: str):
    assert [fault["name"] for fault in answers[name]["faults"]] == [SEED_AND_TRAPS[name][2]]


@pytest.mark.real
def test_the_seeds_own_commands_are_taken_or_refused_as_the_page_says(answers: dict[str, dict]):
    assert answers["version"].startswith(asked()[0].version)
    verdicts = {row.quoted: not answers[f"seed {number}"]["faults"] for number, row in enumerate(asked())}
    assert verdicts == {row.quoted: row.taken for row in asked()}
    assert len(verdicts) > 20 and len(set(verdicts.values())) == 2
    deprecated = answers[next(f"seed {n}" for n, row in enumerate(asked()) if row.quoted.startswith("--model"))]
    assert any("will be removed in a future version" in warning for warning in deprecated["warnings"])


def test_a_fault_names_file_and_key():
    """What the parser refuses is traced to the block of the recipe that set it."""
    target = load_target("h100")
    one = combination(target, {"model": "gpt-oss-120b", "tensor_parallel_size": 1})
    two = combination(load_target("mi300x"), {})
    raw = [
        {
            "id": one.id,
            "warnings": [],
            "faults": [
                {"kind": "flag", "name": "--max-num-batched-tokens", "message": "unknown option"},
                {"kind": "flag", "name": "--host", "message": "unknown option"},
            ],
        },
        {
            "id": two.id,
            "warnings": [],
            "faults": [
                {"kind": "variable", "name": "VLLM_ROCM_USE_AITER", "message": "unknown"},
                {"kind": "flag", "name": "--stream-interval", "message": "unknown option"},
            ],
        },
    ]
    found = {fault.name: fault.where for fault in summarised(raw, {one.id: one, two.id: two})}
    assert found == {
        "--max-num-batched-tokens": "recipes/targets/h100.yaml: known_limits.tp1-memory-120b.avoid.args.max-num-batched-tokens",
        "--host": "recipes/common.yaml.args.host",
        "VLLM_ROCM_USE_AITER": "recipes/targets/mi300x.yaml: serve.env.VLLM_ROCM_USE_AITER",
        "--stream-interval": "recipes/targets/mi300x.yaml: serve.profiles.throughput.args.stream-interval",
    }


def wheel(folder: Path, version: str, variables: list[str], options: list[str]) -> None:
    """A wheel of a vLLM that knows only these variables and options."""
    table = "\n".join(f'    "{name}": lambda: None,' for name in variables)
    fields = "\n".join(f"    {name.replace('-', '_')}: int = 0" for name in options)
    with zipfile.ZipFile(folder / f"vllm-{version}-cp38-abi3-manylinux1_x86_64.whl", "w") as archive:
        archive.writestr("vllm/__init__.py", "")
        archive.writestr(f"vllm-{version}.dist-info/METADATA", f"Name: vllm\nVersion: {version}\n")
        archive.writestr("vllm/envs.py", f"environment_variables: dict = {{\n{table}\n}}\n")
        archive.writestr("vllm/engine/arg_utils.py", f"class EngineArgs:\n{fields or '    pass'}\n")


def test_a_release_that_dropped_something_is_told_from_one_that_did_not(tmp_path, monkeypatch):
    monkeypatch.setattr("maintain.releases.DOWNLOADS", tmp_path)
    chosen = list(combinations(["h200", "mi300x"]))
    options = {word[2:] for one in chosen for word in one.command.argv if word.startswith("--")}
    variables = {name for one in chosen for name in one.command.env if name.startswith("VLLM_")}
    wheel(tmp_path, "9.0.0", sorted(variables), sorted(options))
    wheel(tmp_path, "9.1.0", sorted(variables - {"VLLM_ROCM_USE_AITER"}), sorted(options - {"stream-interval"}))
    whole = check_release("9.0.0", chosen)
    assert whole.faults == [] and whole.variables == len(variables) and whole.not_checked
    broken = check_release("9.1.0", chosen)
    assert sorted({fault.where for fault in broken.faults}) == [
        "recipes/targets/h200.yaml: serve.profiles.latency-speculative.args.stream-interval",
        "recipes/targets/h200.yaml: serve.profiles.throughput-fp8.args.stream-interval",
        "recipes/targets/h200.yaml: serve.profiles.throughput.args.stream-interval",
        "recipes/targets/mi300x.yaml: serve.env.VLLM_ROCM_USE_AITER",
        "recipes/targets/mi300x.yaml: serve.profiles.throughput.args.stream-interval",
    ]
    wheel(tmp_path, "9.3.0", [], [])
    with pytest.raises(CookbookError, match="could not be read"):
        check_release("9.3.0", chosen)


@pytest.mark.full
def test_a_release_whose_parser_does_not_run_is_told_so(tmp_path, monkeypatch, interpreter: Path):
    monkeypatch.setattr("maintain.releases.DOWNLOADS", tmp_path)
    chosen = list(combinations(["h200"]))
    options = {word[2:] for one in chosen for word in one.command.argv if word.startswith("--")}
    variables = {name for one in chosen for name in one.command.env if name.startswith("VLLM_")}
    wheel(tmp_path, "9.0.0", sorted(variables), sorted(options))
    report = check_release("9.0.0", chosen, python=interpreter)
    assert report.faults == [] and "the parser of 9.0.0 does not run on this stack's libraries" in report.not_checked[0]


def test_a_flag_that_is_switched_off_is_traced_too():
    one = combination(load_target("h100"), {})
    setting = Setting(value=False, why="planted by a test", source="a test")
    block = one.command.settings.model_copy(update={"args": {"enable-prefix-caching": setting}})
    target = one.target.model_copy(update={"serve": one.target.serve.model_copy(update={"args": block.args})})
    planted = Combination(target, one.parameters, replace(one.command, settings=block))
    where = "recipes/targets/h100.yaml: serve.args.enable-prefix-caching"
    assert planted.origin("flag", "--no-enable-prefix-caching") == where


def test_reading_sources():
    assert table_keys('x: dict = {"A": 1, "B": 2}\ny = {"C": 3}', "x") == {"A", "B"}
    assert declared_options('class A:\n    max_model_len: int = 1\np.add("--a_b", "-x")') == {
        "--max-model-len",
        "--a-b",
    }


@pytest.mark.real
def test_a_release_that_does_not_exist_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("maintain.releases.DOWNLOADS", tmp_path)
    with pytest.raises(CookbookError, match="could not be had"):
        check_release("0.0.1", [])


@pytest.mark.full
def test_cookbook_check_fails_with_file_and_key(tmp_path, interpreter: Path):
    """A flag and a variable planted in a recipe: `cookbook check` names both and exits non-zero."""
    import os
    import subprocess
    import sys

    shutil.copytree(paths.RECIPES, tmp_path / "recipes", ignore=shutil.ignore_patterns("records"))
    for name in ("helpers", "maintain"):
        shutil.copytree(paths.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "recipes" / "targets" / "r9700.yaml"
    content = yaml.safe_load(path.read_text())
    planted = {"value": 1, "why": "planted by a test", "source": "a test"}
    content["serve"]["args"]["no-such-flag"] = planted
    content["serve"]["env"]["VLLM_NO_SUCH_VARIABLE"] = planted
    path.write_text(yaml.safe_dump(content))
    env = {**os.environ, "COOKBOOK_ROOT": str(tmp_path), "COOKBOOK_STACKS": str(paths.STACKS)}
    argv = [str(Path(sys.executable).parent / "cookbook"), "check", "--target", "r9700"]
    done = subprocess.run(argv, capture_output=True, text=True, env=env)
    assert done.returncode == 1, done.stderr
    assert "recipes/targets/r9700.yaml: serve.args.no-such-flag: --no-such-flag: unknown option" in done.stdout
    assert "recipes/targets/r9700.yaml: serve.env.VLLM_NO_SUCH_VARIABLE: VLLM_NO_SUCH_VARIABLE: unknown" in done.stdout


def test_the_committed_installation_record_is_of_todays_lock():
    """`cookbook check-install` installed this very lock, and every NVIDIA recipe went before that build's parser."""
    record = InstallRecord.model_validate_json((FOLDER / "install-cuda.json").read_text())
    lock = paths.LOCKS / "cuda.txt"
    assert record.lock_sha256 == hashlib.sha256(lock.read_bytes()).hexdigest()
    assert record.state == "passed" and record.faults == record.missing == []
    assert record.install_s > 1 and record.installed < record.finished
    nvidia = [name for name in target_names() if load_target(name).match.vendor == "nvidia"]
    # Recipes may change since: the CPU build's parser, the same code, is asked about today's in every test run.
    assert record.targets == nvidia and record.commands > 300
    assert f"vllm=={record.versions['vllm']} " in lock.read_text()
    assert {load_target(name).stack.vllm for name in nvidia} == {record.versions["vllm"]}, (
        "a recipe pins another release"
    )
    assert all(load_target(name).stack.disk_gib >= record.disk_gib for name in nvidia)


def test_the_cuda_lock_is_whole_and_names_no_index():
    text = (paths.LOCKS / "cuda.txt").read_text()
    pins = [line for line in text.splitlines() if line and line[0].isalnum()]
    assert len(pins) > 150 and all(line.rstrip().endswith("\\") for line in pins)  # a hash follows each
    assert "://" not in text and "--find-links" not in text and "+cpu" not in text
    assert not re.search(r"win32|darwin|emscripten", text), "resolved for Linux alone"
    assert re.search(r"^torch==\d+\.\d+\.\d+ \\$", text, re.M) and "nvidia-cuda-runtime==13" in text


def test_a_stack_as_it_is_proves_no_installation(tmp_path, monkeypatch):
    monkeypatch.setattr("maintain.install.FOLDER", tmp_path)
    with pytest.raises(CookbookError, match="run `cookbook check-install` without --keep"):
        check_install("cuda", fresh=False)
    assert list(tmp_path.iterdir()) == []
