"""The recipes: complete, typed, every fault reported at once with file and key, nothing claimed without a source."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from helpers import paths
from helpers.errors import UsageError
from helpers.recipes import (
    RecipeError,
    check_parameters,
    load_common,
    load_model,
    load_target,
    model_names,
    target_names,
)
from helpers.recipes.budget import alternatives, memory_budget
from helpers.recipes.command import serve_command
from maintain import schema

TARGETS = [
    "cpu",
    "a100",
    "l40s",
    "rtx4090",
    "rtx5090",
    "rtx_pro_6000",
    "dgx_spark",
    "h100",
    "h200",
    "b200",
    "gb200",
    "b300",
    "mi300x",
    "mi325x",
    "mi355x",
    "r9700",
    "arc_pro_b60",
]


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recipes that a test may break."""
    copy = tmp_path / "recipes"
    shutil.copytree(paths.RECIPES, copy, ignore=shutil.ignore_patterns("records", "locks"))
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "RECIPES", copy)
    monkeypatch.setattr(paths, "TARGETS", copy / "targets")
    monkeypatch.setattr(paths, "MODELS", copy / "models")
    return copy


def test_every_target_and_model_is_there_and_valid():
    assert set(TARGETS) <= set(target_names())
    assert target_names()[0] == "cpu"
    names = ["gpt-oss-120b", "gpt-oss-20b", "gpt-oss-nano", "gpt-oss-safeguard-120b", "gpt-oss-safeguard-20b"]
    assert model_names() == [*names, "privacy-filter"]
    for name in target_names():
        target = load_target(name)
        assert set(target.models) <= set(model_names())
        assert target.defaults.profile in target.serve.profiles
        raw = yaml.safe_load((paths.TARGETS / f"{name}.yaml").read_text())
        assert isinstance(raw["serve"]["args"], dict) and isinstance(raw["serve"]["env"], dict)


@pytest.mark.parametrize("name", TARGETS)
def test_a_gpu_target_serves_both_models_and_names_its_limits(name: str):
    target = load_target(name)
    if name != "cpu":
        assert {"gpt-oss-20b", "gpt-oss-120b"} == {name for name in target.models if "safeguard" not in name}
        assert target.expect.moe and (target.expect.attention or name == "arc_pro_b60")
    assert target.known_limits
    assert ("mxfp8" in target.serve.activations) == (name in {"b200", "gb200", "b300"})


def test_faults_are_reported_together_with_file_and_key(recipes: Path):
    path = recipes / "targets" / "h200.yaml"
    content = yaml.safe_load(path.read_text())
    content["serve"]["profiles"]["latency"]["args"]["max-num-seqs"].pop("source")
    content["serve"]["argz"] = {}
    content["stack"]["install"] = "cudda"
    content["models"]["gpt-oss-20b"]["default"] = 3
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError) as raised:
        load_target("h200")
    line = raised.value.line()
    assert len(raised.value.faults) == 4
    for key in (
        "serve.profiles.latency.args.max-num-seqs.source: missing",
        "serve.argz: unknown key",
        "stack.install:",
        "models.gpt-oss-20b: default 3 is not one of",
    ):
        assert f"recipes/targets/h200.yaml: {key}" in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["serve"].pop("env"), "serve.env: missing"),
        (lambda c: c["serve"]["args"].update({"--max_model_len": {}}), "serve.args.--max_model_len"),
        (lambda c: c["serve"]["profiles"].pop("latency"), "both latency and throughput"),
        (
            lambda c: c["serve"]["profiles"]["throughput-fp8"].pop("risk"),
            "serve.profiles.throughput-fp8: its risk is needed",
        ),
        (lambda c: c["defaults"].update(profile="throughput-fp8"), "a risk that a user has to choose"),
        (lambda c: c.update(target="h201"), "the file's name says 'h200'"),
        (lambda c: c["known_limits"][0].update(when={"models": ["gpt-5"]}), "'gpt-5' is not in models"),
    ],
)
def test_a_broken_recipe_is_refused(recipes: Path, change, said: str):
    path = recipes / "targets" / "h200.yaml"
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match=re.escape(said)):
        load_target("h200")


def test_a_risky_profile_says_so_and_names_the_backend_that_it_changes():
    from helpers.runs.run import Run

    target = load_target("h200")
    assert target.expected_backends(profile="throughput")["moe"] == "TRITON"
    assert target.expected_backends(profile="throughput-fp8") == {"attention": "FLASH_ATTN", "moe": "HUMMING"}
    given = {"model": "gpt-oss-20b", "profile": "throughput-fp8"}
    command = serve_command(target, load_model("gpt-oss-20b"), check_parameters(target, given), "W", 8000)
    assert command.argv[command.argv.index("--moe-backend") + 1] == "humming"
    assert json.loads(command.env["VLLM_HUMMING_INPUT_QUANT_CONFIG"]) == {"a_dtype": "float8e4m3"}
    shown = Run.__repr__(
        SimpleNamespace(
            target=target,
            parameters=check_parameters(target, given),
            model=load_model("gpt-oss-20b"),
            folder=paths.ROOT / "runs" / "x",
        )
    )
    assert "risk                   the experts' activations are rounded to 8 bits" in shown


def speculation(weights: str, checkpoint: str = "") -> tuple[dict, str]:
    """What `latency-speculative` of gpt-oss-20b on an H200 sets for weights, and what it says of the draft."""
    from helpers.server.serving import servings

    target, model = load_target("h200"), load_model("gpt-oss-20b")
    given = {"model": "gpt-oss-20b", "profile": "latency-speculative", "weights": weights}
    speaking, measured = servings(target, model, check_parameters(target, given))
    assert "speculative-config" not in " ".join(speaking.command("N", 8000).argv) or speaking == measured
    found = measured.command(checkpoint, 8000).flags["--speculative-config"]
    return json.loads(found[0]), f"{speaking.draft_note()} {measured.draft_note()}"


def test_speculation_takes_the_trained_head_or_a_random_one_beside_random_weights(tmp_path: Path):
    drafted = {"method": "eagle3", "num_speculative_tokens": 3}
    found, note = speculation("hub")
    assert found == drafted | {"model": "RedHatAI/gpt-oss-20b-speculator.eagle3"} and "speculator.eagle3 drafts" in note
    found, note = speculation("synthetic", "/shm/gpt-oss-20b")
    own = {
        "model": "/shm/gpt-oss-20b-eagle3",
        "rejection_sample_method": "synthetic",
        "synthetic_acceptance_length": 2.72,
    }
    assert found == drafted | own
    assert note.startswith("; no head drafts for it") and "2.72 tokens a step are set" in note
    (tmp_path / "config.json").write_text("{}")
    assert speculation(str(tmp_path), str(tmp_path))[0]["model"].startswith("RedHatAI/"), "weights of a user's own"


def test_other_profiles_do_not_speculate_and_say_nothing_of_a_draft():
    from helpers.server.serving import servings

    target, model = load_target("h200"), load_model("gpt-oss-20b")
    for profile in set(target.serve.profiles) - {"latency-speculative"}:
        given = {"model": "gpt-oss-20b", "profile": profile, "weights": "synthetic"}
        for serving in servings(target, model, check_parameters(target, given)):
            assert not serving.speculates and serving.draft_note() == ""
    reference = check_parameters(target, {"model": "gpt-oss-20b", "profile": "reference"})
    flags = serve_command(target, model, reference, "W", 8000).flags
    assert not {"--moe-backend", "--kv-cache-dtype", "--speculative-config"} & flags.keys(), "vLLM's own numerics"


def test_the_acceptance_of_a_run_is_the_one_that_was_set_or_counted(tmp_path: Path):
    from helpers.runs.steps import acceptance_of
    from helpers.server.serving import servings

    target, model = load_target("h200"), load_model("gpt-oss-20b")

    def run(weights: str, profile: str = "latency-speculative"):
        given = {"model": "gpt-oss-20b", "profile": profile, "weights": weights}
        return SimpleNamespace(measured=servings(target, model, check_parameters(target, given))[1], folder=tmp_path)

    assert (
        acceptance_of(run("synthetic")).tokens_per_step == 2.72 and acceptance_of(run("synthetic", "latency")) is None
    )
    assert acceptance_of(run("hub")) is None, "nothing was measured yet"
    (tmp_path / "bench").mkdir()
    for users, tokens in ((1, 2.1), (4, 2.3), (16, 2.2)):
        (tmp_path / "bench" / f"c{users:04}.json").write_text(json.dumps({"spec_decode_acceptance_length": tokens}))
    found = acceptance_of(run("hub"))
    assert (found.kind, found.tokens_per_step) == ("measured", 2.2)


def test_a_file_that_is_not_yaml_is_one_line(recipes: Path):
    (recipes / "targets" / "h200.yaml").write_text("a: [1\nb")
    with pytest.raises(RecipeError) as raised:
        load_target("h200")
    assert "recipes/targets/h200.yaml: not YAML" in str(raised.value) and "\n" not in str(raised.value)


def test_json_schema_is_in_step_and_takes_every_recipe():
    import jsonschema

    assert schema.drift() == []
    for kind, pattern in (
        ("target", "targets/*.yaml"),
        ("model", "models/*.yaml"),
        ("common", "common.yaml"),
        ("stacks", "stacks.yaml"),
    ):
        validator = jsonschema.Draft202012Validator(json.loads((schema.FOLDER / f"{kind}.json").read_text()))
        for path in paths.RECIPES.glob(pattern):
            content = json.loads(json.dumps(yaml.safe_load(path.read_text())))
            assert [error.message for error in validator.iter_errors(content)] == [], path
            assert path.read_text().startswith("# yaml-language-server: $schema="), path
            content["surprise"] = 1
            assert list(validator.iter_errors(content)), path


def test_schema_drift_is_seen(tmp_path: Path):
    schema.write(tmp_path)
    assert schema.drift(tmp_path) == []
    (tmp_path / "model.json").write_text("{}\n")
    assert schema.drift(tmp_path) == ["model.json"]


@pytest.mark.real
def test_vllm_files_named_as_sources_exist(interpreter: Path):
    """A source like `vllm 0.32.0 config/scheduler.py` names a file of the pinned vLLM."""
    package = next((interpreter.parents[1] / "lib").glob("python3.*/site-packages/vllm"))
    files = [paths.RECIPES / "common.yaml", *paths.TARGETS.glob("*.yaml")]
    named = {
        path
        for file in files
        for path in re.findall(
            r"(?:vllm 0\.32\.0|and|;) ((?:[a-z0-9_]+/)*[a-z0-9_]+\.py)", " ".join(file.read_text().split())
        )
    }
    assert len(named) > 10
    assert [path for path in sorted(named) if not (package / path).is_file()] == []


@pytest.mark.parametrize("name", ["gpt-oss-20b", "gpt-oss-120b"])
def test_weight_bytes_follow_from_the_geometry(name: str):
    model = load_model(name)
    g, h, i = model.geometry, model.geometry.hidden_size, model.geometry.intermediate_size
    heads = (g.attention_heads + 2 * g.kv_heads) * g.head_dim
    attention = h * heads + heads + g.attention_heads * g.head_dim * h + h + g.attention_heads + h
    router = h * g.experts + g.experts + h
    biases = 2 * i + h
    embeddings = 2 * g.vocab_size * h + h
    parameters = g.layers * (attention + router + g.experts * (3 * h * i + biases)) + embeddings
    size = g.layers * (2 * (attention + router) + g.experts * (3 * h * i * 17 / 32 + 2 * biases)) + 2 * embeddings
    assert model.weights.parameters == parameters
    assert model.weights.bytes == size


def test_parameters_list_every_fault_at_once():
    given = {"port": "8000", "concurrency": "1,x", "modell": 1, "tensor_parallel_size": 3, "profile": "fast"}
    with pytest.raises(UsageError) as raised:
        check_parameters(load_target("h200"), given)
    line = str(raised.value)
    assert "5 faults in the parameters of h200" in line and "\n" not in line
    for part in (
        "port: given '8000' (str)",
        "concurrency: given '1,x'",
        "modell: unknown parameter (given 1)",
        "tensor_parallel_size: given 3; allowed for gpt-oss-120b on h200: 1, 2, 4, 8",
        "profile: given 'fast' (str); input should be 'latency', 'throughput', 'evals', 'reference', "
        "'throughput-fp8' or 'latency-speculative'",
    ):
        assert part in line


@pytest.mark.parametrize(
    ("target", "given", "said"),
    [
        ("cpu", {"model": "gpt-oss-120b"}, "allowed on cpu: gpt-oss-nano, gpt-oss-20b"),
        ("cpu", {"weights": "hub"}, "weights: given 'hub' for gpt-oss-nano; allowed: nano or a path"),
        ("h100", {"weights": "nano"}, "or rehearse=true"),
        ("h100", {"activations": "mxfp8"}, "mxfp8 needs Blackwell"),
        ("h100", {"weights": "/no/such/folder"}, "the path of a folder that exists"),
        ("h200", {"replicas": 2, "tensor_parallel_size": 8}, "a product of up to 8"),
        ("dgx_spark", {"replicas": 2}, "a product of up to 1"),
        (
            "h100",
            {"model": "gpt-oss-120b", "tensor_parallel_size": 1, "profile": "evals"},
            "the score would be 0; allowed: tensor_parallel_size 2, 4, 8",
        ),
        ("cpu", {"port": 80}, "1024 to 65535, or 0"),
        ("cpu", {"rehearse": 1}, "rehearse: given 1 (int)"),
        ("cpu", {"concurrency": []}, "concurrency: given []"),
        ("cpu", {"tensor_parallel_size": True}, "tensor_parallel_size: given True (bool)"),
    ],
)
def test_a_parameter_out_of_place_is_named(target: str, given: dict, said: str):
    with pytest.raises(UsageError, match=re.escape(said)):
        check_parameters(load_target(target), given)


def test_parameters_take_the_recipes_defaults():
    parameters = check_parameters(load_target("h100"), {"model": "gpt-oss-120b", "concurrency": "4, 8"})
    assert (parameters.tensor_parallel_size, parameters.concurrency) == (2, [4, 8])
    assert check_parameters(load_target("h100"), {"tensor_parallel_size": 0}).tensor_parallel_size == 1
    assert check_parameters(load_target("h100"), {"weights": "nano", "rehearse": True}).weights_kind == "nano"


def test_unknown_names_are_usage_errors():
    for load, name in ((load_target, "h300"), (load_model, "gpt-5"), (load_target, "../models/gpt-oss-20b")):
        with pytest.raises(UsageError, match="unknown"):
            load(name)


def command(name: str, **given):
    target = load_target(name)
    parameters = check_parameters(target, given)
    model = load_model(parameters.model)
    return serve_command(target, model, parameters, model.hub_id or "folder", 8000)


def test_known_limits_win_over_profiles():
    for profile in ("latency", "throughput"):
        argv = command("h100", model="gpt-oss-120b", tensor_parallel_size=1, profile=profile).argv
        assert argv[argv.index("--max-num-batched-tokens") + 1] == "1024"
        assert argv[argv.index("--gpu-memory-utilization") + 1] == "0.95"
    argv = command("h100", model="gpt-oss-120b", tensor_parallel_size=2).argv
    assert float(argv[argv.index("--gpu-memory-utilization") + 1]) < 0.95
    assert argv[argv.index("--max-num-batched-tokens") + 1] == "8192"


def test_every_command_has_what_every_server_needs():
    for name in TARGETS:
        made = command(name)
        assert made.argv[:2] == ["vllm", "serve"]
        assert made.argv[made.argv.index("--host") + 1] == "127.0.0.1"
        assert "--fail-on-environ-validation" in made.argv
        assert made.argv[made.argv.index("--tool-call-parser") + 1] == "openai"
        assert made.argv[made.argv.index("--served-model-name") + 1] == made.model
        assert not any("api-key" in word.lower() or "API_KEY" in word for word in [*made.argv, *made.env])
    assert "VLLM_CPU_OMP_THREADS_BIND" in command("cpu", tensor_parallel_size=2).env
    assert "VLLM_CPU_OMP_THREADS_BIND" in command("cpu", replicas=2).env
    assert "VLLM_CPU_OMP_THREADS_BIND" not in command("cpu").env


def test_every_flag_and_variable_carries_reason_and_source():
    for name in TARGETS:
        target = load_target(name)
        for block in (load_common(), command(name).settings):
            for setting in [*block.args.values(), *block.env.values()]:
                assert len(setting.why) > 10 and len(setting.source) > 10, (target.target, setting)


def test_activations_are_a_choice_with_its_risk():
    assert "--moe-backend" not in command("b200").argv
    argv = command("b200", activations="mxfp8").argv
    assert argv[argv.index("--moe-backend") + 1] == "flashinfer_trtllm"
    assert json.loads(argv[argv.index("--quantization-config") + 1]) == {"moe": {"activation": "mxfp8"}}
    target = load_target("b200")
    assert "less accurate" in target.serve.activations["mxfp8"].risk
    assert target.expected_backends("mxfp8")["moe"] == "FLASHINFER_TRTLLM_MXFP4_MXFP8"
    assert target.expect.named("FLASHINFER|TRITON_ATTN", "TRITON_ATTN")
    assert not target.expect.named("FLASHINFER", "TRITON_ATTN")
    assert not target.expect.named("FLASHINFER", None)


def test_the_combinations_that_are_left_out_are_these():
    from maintain.combinations import combinations

    made = {
        (
            c.target.target,
            c.parameters.model,
            c.parameters.tensor_parallel_size,
            c.parameters.profile,
            c.parameters.replicas,
        )
        for c in combinations()
    }
    for name in TARGETS:
        target = load_target(name)
        for model, sizes in target.models.items():
            for size in sizes.tensor_parallel_size:
                for profile in target.serve.profiles:
                    short = (name, model, size, profile) == ("h100", "gpt-oss-120b", 1, "evals")
                    assert ((name, model, size, profile, 1) in made) == (not short)
    assert ("cpu", "gpt-oss-nano", 2, "latency", 2) in made and ("h200", "gpt-oss-120b", 4, "latency", 2) in made


def test_the_logs_of_the_cpu_name_the_moe_backend():
    from helpers.logs import backends

    log = paths.ROOT / "tests" / "fixtures" / "doctor" / "real" / "killserve.log"
    assert backends(log) == {"moe": load_target("cpu").expect.moe}


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_recipe_recommends_fits(name: str):
    target = load_target(name)
    for model, sizes in target.models.items():
        for profile in target.serve.profiles:
            given = {"model": model, "tensor_parallel_size": sizes.default, "profile": profile}
            parameters = check_parameters(target, given)
            memory = 64.0 if name == "cpu" else None  # the test's own host may be small
            assert memory_budget(target, load_model(model), parameters, memory).fits


def test_every_offered_size_can_start():
    """At every size that a recipe offers its own sweep fits: preflight refuses it otherwise."""
    for name in TARGETS:
        target = load_target(name)
        for model, sizes in target.models.items():
            for size in sizes.tensor_parallel_size:
                given = {"model": model, "tensor_parallel_size": size}
                memory = 64.0 if name == "cpu" else None
                budget = memory_budget(target, load_model(model), check_parameters(target, given), memory)
                assert budget.fits, (name, model, size, budget.line())


def test_what_cannot_fit_is_refused_with_what_would():
    target = load_target("h100")
    given = {"model": "gpt-oss-120b", "tensor_parallel_size": 1, "concurrency": [1, 512], "input_tokens": 8192}
    model = load_model("gpt-oss-120b")
    budget = memory_budget(target, model, check_parameters(target, given))
    line = "; ".join(alternatives(target, model, check_parameters(target, given), budget))
    assert not budget.fits and budget.missing > 0
    promised = int(re.search(r"concurrency up to (\d+)", line).group(1))
    size = int(re.search(r"; tensor_parallel_size (\d+)", line).group(1))
    for change in ({"concurrency": [promised]}, {"tensor_parallel_size": size}):
        assert memory_budget(target, model, check_parameters(target, {**given, **change})).fits
    assert not memory_budget(target, model, check_parameters(target, {**given, "concurrency": [promised + 1]})).fits


@pytest.mark.parametrize("name", TARGETS)
def test_the_stacks_disk_is_one_figure(name: str):
    """The installation asks for what the recipe, the notebook and preflight say."""
    from helpers.machine.stack.environment import disk_gib

    stack = load_target(name).stack
    assert disk_gib(stack.install) == stack.disk_gib


def test_blackwells_default_keeps_the_reference_accuracy():
    for name in ("b200", "gb200", "b300"):
        assert "--kv-cache-dtype" not in command(name).argv
        assert any("--kv-cache-dtype fp8" in limit.advice for limit in load_target(name).known_limits)


@pytest.mark.parametrize(
    ("limit", "names"),
    [
        ("TRITON_PTXAS_PATH", ["dgx_spark"]),
        ("download-kernels", ["h100", "h200", "b200"]),
        ("--disable-custom-all-reduce", ["b200", "gb200", "b300"]),
    ],
)
def test_known_failures_are_limits_of_their_machines(limit: str, names: list[str]):
    for name in names:
        assert any(limit in one.advice for one in load_target(name).known_limits), name


def test_a_smaller_card_than_the_recipes_is_refused():
    target = load_target("rtx4090")
    parameters = check_parameters(target, {})
    assert memory_budget(target, load_model("gpt-oss-20b"), parameters).fits
    assert not memory_budget(target, load_model("gpt-oss-20b"), parameters, 16.0).fits


def test_kv_cache_of_half_the_layers_stops_at_the_window():
    target, model = load_target("h200"), load_model("gpt-oss-120b")
    load = {}
    for tokens in (1024, 2048, 4096):
        given = {"concurrency": [1], "input_tokens": tokens // 2, "output_tokens": tokens // 2}
        load[tokens] = memory_budget(target, model, check_parameters(target, given)).load * 2**30
    per_token = 18 * 2 * 8 * 64 * 2  # 18 of 36 layers grow: K and V, 8 heads of 64, 2 bytes
    assert load[4096] - load[2048] == pytest.approx(2048 * per_token)
    assert load[2048] - load[1024] == pytest.approx(1024 * per_token)


@pytest.mark.real
def test_recipes_load_fast():
    import subprocess
    import sys

    code = "import sys, helpers.recipes.command; print(sorted({'pandas','torch','openai','rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=paths.ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.real
def test_expected_backends_are_names_that_vllm_has(interpreter: Path):
    """A misspelt backend could never be found in a log."""
    package = next((interpreter.parents[1] / "lib").glob("python3.*/site-packages/vllm"))
    oracle = (package / "model_executor/layers/fused_moe/oracle/mxfp4.py").read_text()
    registry = (package / "v1/attention/backends/registry.py").read_text()
    known = {
        "moe": set(re.findall(r'^    [A-Z0-9_]+ = "([A-Z0-9_]+)"', oracle, re.M)),
        "attention": set(re.findall(r'^    ([A-Z0-9_]+) = "vllm|^    ([A-Z0-9_]+) = \($', registry, re.M)),
    }
    known["attention"] = {name for pair in known["attention"] for name in pair if name}
    for name in target_names():
        target = load_target(name)
        for activations in target.serve.activations or ["bf16"]:
            for kind, wanted in target.expected_backends(activations).items():
                assert wanted is None or set(wanted.split("|")) <= known[kind], (name, kind, wanted)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("Using FLASH_ATTN attention backend out of potential backends: ['FLASH_ATTN'].", "FLASH_ATTN"),
        ("Using ROCM_AITER_UNIFIED_ATTN backend (selected via --attention-backend).", "ROCM_AITER_UNIFIED_ATTN"),
        ("Using TRITON_ATTN backend out of potential backends: ['TRITON_ATTN'].", "TRITON_ATTN"),
    ],
)
def test_the_logs_of_cuda_and_rocm_name_the_attention_backend(tmp_path: Path, line: str, named: str):
    """The wording of vllm 0.32.0 platforms/cuda.py and platforms/rocm.py."""
    from helpers.logs import backends

    (tmp_path / "server.log").write_text(f"INFO 11-22 15:38:28 [rocm.py:750] {line}\n")
    assert backends(tmp_path / "server.log")["attention"] == named


def test_the_budget_agrees_with_what_servers_measured():
    """The records of real GPU servers name the memory that vLLM found; the budget may be off by 2 GiB."""
    from helpers.records.record import RunRecord

    seen = 0
    for path in sorted(paths.RECORDS.glob("*/*.json")):
        record = RunRecord.read(path)
        if not record.machine.gpus or "kv_cache_gib" not in record.memory or record.parameters.get("rehearse"):
            continue
        given = record.serving.model_dump(include={"tensor_parallel_size", "profile", "activations"})
        target = load_target(record.target)
        if given["profile"] not in target.serve.profiles:
            continue
        parameters = check_parameters(target, {**given, "model": record.model})
        budget = memory_budget(target, load_model(record.model), parameters, record.machine.gpu_memory_gib)
        assert budget.weights == pytest.approx(record.memory["weights_gib"], abs=1.0), path.name
        assert budget.kv_cache == pytest.approx(record.memory["kv_cache_gib"], abs=2.0), path.name
        seen += 1
    assert seen >= 2
