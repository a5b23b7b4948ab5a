"""The matrix: claims come from records alone, each for what ran and nothing else."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from helpers.errors import CookbookError
from helpers.paths import RECORDS
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.command import serve_command
from helpers.records.claims import WEIGHTLESS, claims_of, load_claims
from helpers.records.curves import setting
from helpers.records.matrix import NEVER, matrix
from helpers.records.record import RunRecord, Served

CPU = json.loads(next((RECORDS / "cpu").glob("*.json")).read_text())  # a real run's record


def record(**changes) -> RunRecord:
    """An H200 record: throughput of 120b on synthetic weights, behaviour checked with gpt-oss-nano."""
    target, model = load_target("h200"), load_model("gpt-oss-120b")
    given = {"model": "gpt-oss-120b", "tensor_parallel_size": 2, "profile": "throughput"}
    parameters = check_parameters(target, given)
    command = serve_command(target, model, parameters, "/shm/synthetic", 8123)
    points = [{**point, "output_tok_s_per_gpu": point["output_tok_s"] / 2} for point in CPU["throughput"]]
    return RunRecord.model_validate(
        {
            **CPU,
            "target": "h200",
            "model": "gpt-oss-120b",
            "weights": "synthetic",
            "serving": Served.of(parameters),
            "parameters": given,
            "argv": command.argv,
            "env": command.env,
            "throughput": points,
            "versions": {"vllm": "0.32.0"},
            **changes,
        }
    )


def cells(*records: RunRecord) -> dict:
    claims = [claim for number, one in enumerate(records) for claim in claims_of(one, f"{number}.json")]
    return {(row.model, row.tensor_parallel_size, row.profile): row for row in matrix(claims, ["h200"])}


def test_without_records_nothing_is_verified():
    rows = matrix([])
    assert {row.state for row in rows} == {NEVER}
    assert all("parsed by vLLM" in row.line() for row in rows)


def test_a_pass_with_nano_never_turns_120b_green():
    contracts = [{**one, "model": "gpt-oss-nano", "weights": "nano"} for one in CPU["contracts"]]
    found = cells(record(contracts=contracts, throughput=[]))
    # nano is not among the models of h200: a row of its own
    stood_in = found.pop(("gpt-oss-nano", 1, "throughput"))
    assert stood_in.state == "passed" and not stood_in.recommended
    assert {row.state for row in found.values()} == {NEVER}
    with_speed = cells(record(contracts=contracts))
    row = with_speed["gpt-oss-120b", 2, "throughput"]
    assert [claim.group for claim in row.claims] == ["throughput"]
    assert "with synthetic weights on vLLM 0.32.0 (" in row.line()


def test_a_claim_is_for_one_size_and_profile():
    contracts = [dict(one, model="gpt-oss-120b", weights="synthetic") for one in CPU["contracts"]]
    found = cells(record(contracts=contracts))
    green = [key for key, row in found.items() if row.state == "passed"]
    assert green == [("gpt-oss-120b", 2, "throughput")]
    groups = {claim.group for claim in found[green[0]].claims}
    assert groups == {one["group"] for one in CPU["contracts"]} | {"throughput"}


def test_a_failed_group_is_told_and_does_not_hide():
    contracts = [dict(one, model="gpt-oss-120b", weights="synthetic") for one in CPU["contracts"]]
    read = next(one for one in contracts if one["name"] not in WEIGHTLESS)
    read |= {"state": "failed", "why": "broken"}
    row = cells(record(contracts=contracts, state="failed", why="a contract is broken"))[
        "gpt-oss-120b", 2, "throughput"
    ]
    assert row.state == "failed"
    assert any(claim.group == read["group"] and claim.state == "failed" for claim in row.claims)


def test_kernels_in_a_log_are_no_endpoint_of_a_model():
    contracts = [dict(one, model="gpt-oss-120b", weights="synthetic") for one in CPU["contracts"]]
    row = cells(record(contracts=[one for one in contracts if one["name"] in WEIGHTLESS]))[
        "gpt-oss-120b", 2, "throughput"
    ]
    assert {claim.group for claim in row.claims} == {"lifecycle", "throughput"}


def test_the_newest_record_speaks():
    old = record(
        state="failed", why="an older failure", started="2026-01-01T00:00:00Z", finished="2026-01-01T01:00:00Z"
    )
    contracts = [dict(one, model="gpt-oss-120b", weights="synthetic") for one in CPU["contracts"]]
    new = record(contracts=contracts)
    for order in ((old, new), (new, old)):
        throughput = [c for c in cells(*order)["gpt-oss-120b", 2, "throughput"].claims if c.group == "throughput"]
        assert [claim.state for claim in throughput] == ["passed"]


def test_a_rehearsal_claims_nothing():
    rehearsed = record()
    rehearsed.parameters["rehearse"] = True
    assert claims_of(rehearsed, "x.json") == []


def test_a_variant_of_the_campaign_claims_nothing():
    """Bare `vllm serve` with one flag more is no recipe, and must not hide the recipe's own run."""
    own = record()
    other = record(serving=own.serving.model_copy(update={"variant": "bare vllm serve"}))
    assert claims_of(own, "x.json") and claims_of(other, "x.json") == []


def test_a_recipe_that_changed_since_is_told():
    assert all(claim.same_flags for claim in claims_of(record(), "x.json"))
    argv = [word for word in record().argv if word not in ("--stream-interval", "20")]
    other = claims_of(record(argv=argv), "x.json")
    assert not any(claim.same_flags for claim in other) and "with other flags than today's" in other[0].line()
    env = {**record().env, "VLLM_USE_FLASHINFER_SAMPLER": "0"}
    assert not any(claim.same_flags for claim in claims_of(record(env=env), "x.json"))


def test_tools_make_no_other_command():
    """A run with tool servers is told where they are: the recipe's flags ran, and its points continue the curve."""
    plain = record()
    env = plain.env | {"VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS": "code_interpreter"}
    tooled = record(argv=[*plain.argv, "--tool-server", "127.0.0.1:7001"], env=env)
    assert all(claim.same_flags for claim in claims_of(tooled, "x.json")) and setting(tooled) == setting(plain)


def throughput(*records: RunRecord) -> list[tuple[str, str, bool]]:
    row = cells(*records)["gpt-oss-120b", 2, "throughput"]
    return [(c.group, c.checks, c.same_flags) for c in row.claims if c.group.startswith("throughput")]


def later(one: RunRecord, **changes) -> RunRecord:
    return one.model_copy(update={"finished": one.finished + timedelta(days=1), **changes})


def test_a_newer_run_with_other_flags_does_not_hide_todays():
    own = record()
    other = later(own, argv=[*own.argv, "--no-enable-prefix-caching"], throughput=own.throughput[:1])
    assert throughput(own, other) == throughput(own) and throughput(other)[0][2] is False


def test_sweeps_of_one_command_add_up_and_those_of_another_do_not():
    first = record()
    more = [point.model_copy(update={"input_tokens": 8192}) for point in first.throughput]
    again = later(first, throughput=[*more, first.throughput[0]])
    count = len(first.throughput)
    assert throughput(first, again) == [("throughput", f"{2 * count} points", True)]
    row = cells(first, again)["gpt-oss-120b", 2, "throughput"]
    days = [claim.days for claim in row.claims if claim.group == "throughput"]
    assert days == [f"{first.finished:%Y-%m-%d} to {again.finished:%Y-%m-%d}"] and days[0] in row.line()
    subset = later(first, throughput=first.throughput[:1])
    assert throughput(first, subset) == [("throughput", f"{count} points", True)]
    parted = later(first, versions={"vllm": "0.33.0"}), later(later(again))
    assert throughput(first, *parted) == [("throughput", f"{2 * count} points", True)], "another command stands between"
    elsewhere = later(again, versions={"vllm": "0.33.0"})
    assert throughput(first, elsewhere) == [("throughput", f"{count + 1} points", True)]


def test_replicas_speak_for_themselves():
    one = record()
    copies = later(one, serving=one.serving.model_copy(update={"replicas": 4}))
    assert [group for group, *_ in throughput(one, copies)] == ["throughput", "throughput of 4 replicas"]


def test_a_record_in_the_wrong_folder_is_refused(tmp_path: Path):
    record().write(tmp_path / "h100" / "a.json")
    with pytest.raises(CookbookError, match="is a record of h200"):
        load_claims(tmp_path)
    (tmp_path / "h100" / "a.json").rename(tmp_path / "h100" / "b.json")
    (tmp_path / "h100" / "b.json").write_text("{}")
    with pytest.raises(CookbookError, match="not a run record"):
        load_claims(tmp_path)


def test_the_repositorys_records_are_claims():
    claims = load_claims()
    assert any(claim.target == "cpu" and claim.model == "gpt-oss-nano" for claim in claims)
    rows = {(row.target, row.model, row.tensor_parallel_size, row.profile): row for row in matrix(claims)}
    assert rows["cpu", "gpt-oss-nano", 1, "latency"].claims
    assert rows["mi300x", "gpt-oss-120b", 1, "throughput"].state == NEVER
