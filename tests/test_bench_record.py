"""Records and their bounds; the plan of a sweep; the throughput figure."""

import copy
import json
import runpy
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from helpers.bench.sweep import plan, point_of
from helpers.errors import CookbookError, UsageError
from helpers.records.record import MIGRATION, Point, RunRecord


def percentiles(value: float) -> dict:
    return {"p50": value, "p90": value * 1.1, "p99": value * 1.2, "mean": value}


def point(users: int = 4, tpot: float = 10.0, tokens: int = 101, ttft: float = 50.0) -> dict:
    """A consistent point: `users` in flight all the time, three waves."""
    e2e = ttft + tpot * (tokens - 1)
    rate = users * tokens / e2e * 1e3
    return {
        "concurrency": users,
        "input_tokens": 64,
        "output_tokens": tokens,
        "prompts": 3 * users,
        "duration_s": 3 * e2e / 1e3,
        "output_tok_s": rate,
        "output_tok_s_per_gpu": rate,
        "tok_s_per_user": 1e3 / tpot,
        "ttft_ms": percentiles(ttft),
        "tpot_ms": percentiles(tpot),
        "itl_ms": percentiles(tpot),
        "e2e_ms": percentiles(e2e),
    }


def record() -> dict:
    return {
        "schema": 2,
        "target": "cpu",
        "model": "gpt-oss-nano",
        "weights": "nano",
        "serving": {"tensor_parallel_size": 1, "replicas": 1, "profile": "latency", "activations": "bf16"},
        "parameters": {"concurrency": [1, 4]},
        "argv": ["vllm", "serve", "nano", "--port", "8000"],
        "env": {"VLLM_CPU_KVCACHE_SPACE": "1"},
        "machine": {"cpu": "x", "cores": 2, "memory_gib": 8.0},
        "versions": {"vllm": "0.32.0"},
        "commit": "0" * 40,
        "startup_s": {"total": 40.0},
        "state": "passed",
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:05:00Z",
        "contracts": [{"name": "a", "group": "g", "state": "passed", "model": "gpt-oss-nano", "weights": "nano"}],
        "throughput": [point(1), point(4)],
    }


def test_a_record_survives_the_disk(tmp_path):
    made = RunRecord.model_validate(record())
    path = made.write(tmp_path / "run" / "record.json")
    assert json.loads(path.read_text())["schema"] == 2
    assert RunRecord.read(path) == made
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_secrets_never_reach_a_record():
    raw = record()
    raw["env"] = {"HF_TOKEN": "hf_abc", "OPENAI_API_KEY": "x", "PLAIN": "sk-12345678", "VLLM_PORT": "1"}
    raw["argv"] = ["vllm", "serve", "m", "--api-key", "letmein", "--api-key=letmein"]
    text = RunRecord.model_validate(raw).model_dump_json()
    assert "hf_abc" not in text and "sk-123" not in text and "letmein" not in text
    assert '"VLLM_PORT":"1"' in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p["tpot_ms"].update(p90=5.0), "out of order"),
        (lambda p: p.update(output_tok_s=-1.0), "greater than 0"),
        (lambda p: p.update(tok_s_per_user=55.0), "1000 / TPOT"),
        (lambda p: p.update(output_tok_s=p["output_tok_s"] * 2), "prompts"),
        (lambda p: p.update(output_tok_s_per_gpu=p["output_tok_s"] * 2), "per GPU"),
        (lambda p: p.update(e2e_ms=percentiles(p["e2e_ms"]["p50"] * 1.5)), "in flight"),
        (lambda p: p.update(ttft_ms=percentiles(500.0)), "is not e2e"),
        (lambda p: p.update(roofline_tok_s=100.0, roofline_fraction=0.2), "roofline_fraction"),
        (lambda p: p.update(roofline_tok_s=p["output_tok_s"] / 2, roofline_fraction=2.0), "faster than"),
        (lambda p: p.update(surprise=1), "not permitted"),
        (lambda p: p.update(tpot_ms=percentiles(0.02), tok_s_per_user=50_000.0), "in bursts"),
    ],
)
def test_impossible_points_are_refused(change, said):
    raw = point()
    Point.model_validate(copy.deepcopy(raw))
    change(raw)
    with pytest.raises(ValidationError, match=said):
        Point.model_validate(raw)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"finished": "2025-01-01T00:00:00Z"}, "before started"),
        ({"started": "2026-01-01T00:00:00"}, "UTC"),
        ({"state": "failed"}, "says why"),
        ({"versions": {}}, "no vllm"),
        ({"serving": {}}, "tensor_parallel_size"),
        ({"acceptance": {"kind": "synthetic", "tokens_per_step": 2.7}}, "names its source"),
        ({"weights": "dummy"}, "weights"),
        ({"throughput": [point(1), point(1)]}, "same settings"),
        (
            {"contracts": [{"name": "a", "group": "g", "state": "failed", "why": "x", "model": "m", "weights": "w"}]},
            "failed contracts",
        ),
    ],
)
def test_incoherent_records_are_refused(tmp_path, change, said):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**record(), **change}))
    with pytest.raises(CookbookError, match=said):
        RunRecord.read(path)


SERVED_BEFORE = {"tensor_parallel_size": 2, "profile": "throughput", "install": "existing", "variant": "FP8"}
SPECULATES = ["--speculative-config", json.dumps({"method": "eagle3", "synthetic_acceptance_length": 2.72})]


def migrate(name: str) -> Callable:
    """A function of the script."""
    return runpy.run_path(str(MIGRATION))[name]


def test_an_old_record_is_refused_and_its_migration_is_read(tmp_path):
    """The line names the command, and what it writes says typed what the old parameters said."""
    old = record() | {"schema": 1, "replicas": 4, "parameters": SERVED_BEFORE}
    del old["serving"]
    old["argv"] = [*old["argv"], *SPECULATES, "--tensor-parallel-size", str(SERVED_BEFORE["tensor_parallel_size"])]
    old["notes"] = [
        "the draft is random; how many of its tokens count is set, not measured (a recipe, 3 drafted tokens)"
    ]
    path = tmp_path / "record.json"
    path.write_text(json.dumps(old))
    with pytest.raises(CookbookError, match=r"of schema 1.*recipes/records/migrate\.py") as refused:
        RunRecord.read(path)
    assert "\n" not in str(refused.value)
    migrate("main")([str(path)])
    found = RunRecord.read(path)
    assert found.serving.label == "4 x TP2 FP8" and found.serving.profile == "throughput"
    assert (
        found.parameters == {"install": "existing"}
        and found.throughput == RunRecord.model_validate(record()).throughput
    )
    assert found.acceptance.tokens_per_step == 2.72 and found.acceptance.source == "a recipe, 3 drafted tokens"
    again = path.read_bytes()
    migrate("main")([str(path)])
    assert path.read_bytes() == again, "a file of today's schema stays as it is"


def test_bare_vllm_serve_is_no_profile_of_a_recipe():
    old = {"schema": 1, "argv": [], "parameters": {**SERVED_BEFORE, "variant": "bare vllm serve, async scheduling off"}}
    assert migrate("migrated")(old)["serving"]["profile"] == "bare"
    study = {"schema": 1, "knobs": {}, "concurrency": [1, 256]}
    assert migrate("migrated")(study) == {"schema": 2, "knobs": {}, "users_per_gpu": [1, 256]}


def test_a_missing_record_says_so(tmp_path):
    with pytest.raises(CookbookError, match="cannot be read"):
        RunRecord.read(tmp_path / "record.json")


def test_a_plan_has_whole_waves():
    loads = plan([1, 4, 512], 1024, 1024)
    assert [load.prompts for load in loads] == [3, 12, 1024]
    for wrong in ([], [0], ["4"]):
        with pytest.raises(UsageError):
            plan(wrong, 1, 2)


def test_a_result_that_cannot_be_is_an_error():
    raw = point(4)
    result = {
        f"{name}_{metric}_ms": raw[field][name]
        for metric, field in (("ttft", "ttft_ms"), ("tpot", "tpot_ms"), ("itl", "itl_ms"), ("e2el", "e2e_ms"))
        for name in ("p50", "p90", "p99", "mean")
    }
    result |= {"output_throughput": raw["output_tok_s"], "duration": raw["duration_s"]}
    result["cookbook"] = {
        "settings": {key: raw[key] for key in ("concurrency", "input_tokens", "output_tokens", "prompts")}
    }
    assert point_of(result, gpus=2).output_tok_s_per_gpu == pytest.approx(raw["output_tok_s"] / 2)
    with pytest.raises(CookbookError, match="not plausible"):
        point_of({**result, "output_throughput": raw["output_tok_s"] * 3})


def test_the_figure_has_both_curves_and_refuses_one_point():
    from helpers.plots.throughput import throughput_figure

    points = [Point.model_validate(point(users)) for users in (1, 2, 4)]
    made = throughput_figure(points, "title")
    rate, latency = made.axes
    assert list(rate.lines[0].get_xdata()) == [1, 2, 4]
    assert list(rate.lines[0].get_ydata()) == [p.output_tok_s for p in points]
    assert "tok/s" in rate.get_ylabel() and "ms" in latency.get_ylabel()
    assert rate.lines[0].get_marker() != "None"
    with pytest.raises(CookbookError, match="at least two"):
        throughput_figure(points[:1])


def test_serving_and_the_command_agree() -> None:
    """What a record says of the server and what was launched are one thing; several copies are all on record."""
    served = lambda **changes: record() | {"serving": record()["serving"] | changes}  # noqa: E731
    with pytest.raises(ValidationError, match="serving says tensor_parallel_size 2, argv 1"):
        RunRecord.model_validate(served(tensor_parallel_size=2))
    RunRecord.model_validate(
        served(tensor_parallel_size=2) | {"argv": [*record()["argv"], "--tensor-parallel-size", "2"]}
    )
    with pytest.raises(ValidationError, match="3 replicas and the command of one"):
        RunRecord.model_validate(served(replicas=3))
    RunRecord.model_validate(served(replicas=3) | {"servers": [{"argv": ["vllm", "serve"]}] * 4})
