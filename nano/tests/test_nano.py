"""gpt-oss-nano: its samples, its builder, its twin, its evaluation."""

import hashlib
import json
import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from helpers.paths import MODELS, ROOT
from nano.domain.generator import MIX, draw_sample, held_out_samples, training_samples
from nano.domain.sample import Draw, Sample, held_out, user
from nano.evaluation import cases as case_module
from nano.evaluation.grading import Reply, grows, malformed, problem, read_chat, read_responses
from nano.evaluation.requests import chat_body, responses_body

COMPACT = MODELS / "gpt-oss-nano.safetensors"
CARD = ROOT / "docs" / "nano.md"


def in_stack(interpreter: Path, *words: str) -> dict:
    """Run a check of `in_stack.py` with the stack's Python."""
    script = Path(__file__).with_name("in_stack.py")
    # One thread: two that wait for each other in a loop, beside a vLLM that is bound to a core, take ten times as long.
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(interpreter), str(script), *words], capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_training_never_produces_a_held_out_combination():
    assert not any(sample.held_out for sample in training_samples(3, 3000))
    assert all(sample.held_out for sample in held_out_samples(3, 300))
    share = sum(held_out(("+", a, b)) for a in range(100) for b in range(a, 100)) / 5050
    assert 0.06 < share < 0.11


def test_the_generator_depends_on_its_seed_alone():
    one, two, other = ([repr(s) for s in training_samples(seed, 200)] for seed in (1, 1, 2))
    assert one == two != other


@pytest.mark.parametrize("skill", MIX)
def test_every_sample_has_one_completion_and_arguments_in_the_schemas_order(skill):
    draw = Draw(random.Random(skill))
    for _ in range(200):
        sample = draw_sample(draw, skill)
        ends = [sample.final, sample.answer, sample.call, sample.builtin]
        assert sum(end is not None for end in ends) == 1, sample
        assert sample.analysis and sample.history[-1]["role"] in ("user", "tool")
        if sample.call:
            name, arguments = sample.call
            tool = next(tool["function"] for tool in sample.tools if tool["function"]["name"] == name)
            known = tool["parameters"]["properties"]
            assert [key for key in known if key in arguments] == list(arguments)
            assert set(tool["parameters"]["required"]) <= set(arguments)
            for key, value in arguments.items():
                assert isinstance(value, int) == (known[key]["type"] == "integer")
                assert "enum" not in known[key] or value in known[key]["enum"]
        if sample.answer is not None:
            assert list(sample.schema["properties"]) == list(sample.answer)


def test_analyses_grow_with_effort():
    for sample in case_module.answers():
        assert sample.sample.analysis
    lengths = {effort: [] for effort in ("low", "medium", "high")}
    for sample in training_samples(4, 2000):
        if sample.skill == "domain":
            lengths[sample.effort].append(len(sample.analysis))
    means = [sum(rows) / len(rows) for rows in lengths.values()]
    assert grows(means)


def test_the_cases_are_held_out_and_enough():
    cases = case_module.cases()
    assert len(cases) >= 200
    assert {case.skill for case in cases} == {"answers", "domain", "functions", "memory", "structured", "evals"}
    assert all(case.sample.held_out for case in cases)
    assert len(case_module.arbitrary()) == 100 == len({case.sample.key for case in case_module.arbitrary()})


def test_bodies_carry_tools_schema_and_history():
    sample = next(s for s in training_samples(8, 5000) if s.task == "result" and "reasoning" in s.history[1])
    chat, responses = chat_body(sample, "m"), responses_body(sample, "m")
    assert chat["messages"][-1]["tool_call_id"] == chat["messages"][-2]["tool_calls"][0]["id"]
    assert [item.get("type") for item in responses["input"][1:]] == [
        "reasoning",
        "function_call",
        "function_call_output",
    ]
    assert len(chat["tools"]) == len(responses["tools"]) == len(sample.tools)
    schema = next(s for s in training_samples(8, 500) if s.schema)
    assert chat_body(schema, "m")["response_format"]["json_schema"]["strict"] is True
    assert responses_body(schema, "m")["text"]["format"]["schema"] == schema.schema


def test_problem_names_what_is_wrong():
    answer = Sample("domain", ("x",), [user("What is 2 + 2?")], "", "2 + 2 = 4", expect=["4"])
    good = Reply("2 + 2 = 4.", "2 + 2 = 4", ended=True)
    assert problem(answer, good) == ""
    assert "lacks '4'" in problem(answer, Reply("x", "2 + 2 = 44", ended=True))
    assert problem(answer, Reply("x", "2 + 2 = 4")) == "it did not end"
    assert problem(answer, Reply("", "4", ended=True)) == "no analysis"
    assert problem(answer, Reply("x", "4", [("f", "{}")], True)) == "called f"
    call = Sample("functions", ("y",), [user("?")], "", call=("add", {"a": 1, "b": 2}))
    assert problem(call, Reply("x", "", [("add", '{"a": 1, "b": 2}')], True)) == ""
    assert "not add" in problem(call, Reply("x", "", [("add", '{"a": 1, "b": 3}')], True))
    assert "no JSON" in problem(call, Reply("x", "", [("add", '{"a": 1')], True))
    data = Sample("structured", ("z",), [user("?")], "", answer={"n": 1})
    assert problem(data, Reply("x", '{"n": 1}', ended=True)) == "" != problem(data, Reply("x", '{"n": 2}', ended=True))


def test_replies_of_both_endpoints_read_alike():
    message = {"content": "4", "reasoning": "2 + 2 = 4.", "tool_calls": None}
    chat = read_chat({"choices": [{"message": message, "finish_reason": "stop"}]})
    output = [
        {"type": "reasoning", "content": [{"text": "2 + 2 = 4."}]},
        {"type": "message", "content": [{"type": "output_text", "text": "4"}]},
    ]
    assert chat == read_responses({"status": "completed", "output": output})


def test_the_strict_parser_finds_malformed_harmony():
    from openai_harmony import HarmonyEncodingName, load_harmony_encoding

    encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)

    def judged(text: str) -> str:
        return malformed(encoding.encode(text, allowed_special="all"))

    analysis = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    assert judged(f"{analysis}<|channel|>final<|message|>4<|return|>") == ""
    assert judged(f"{analysis}<|channel|>commentary to=functions.f <|constrain|>json<|message|>{{}}<|call|>") == ""
    assert judged(f"{analysis}<|channel|>final<|message|>4") == "no end"
    assert judged("Hm, 4<|return|>")
    assert judged(f"{analysis}<|channel|>musing<|message|>4<|return|>") == "unknown channel"
    assert judged("<|channel|>analysis<|message|>Hm.<|return|>") == "no answer"
    assert judged(f"{analysis} oh no<|return|>")


@pytest.fixture(scope="module")
def built(interpreter, tmp_path_factory):
    """Both forms, and the BF16 form a second time."""
    folder = tmp_path_factory.mktemp("nano")
    for name, form in (("bf16", "bf16"), ("again", "bf16"), ("mxfp4", "mxfp4")):
        argv = [str(interpreter), "-m", "helpers.instack.nano.build", "--out", str(folder / name), "--form", form]
        subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.full
def test_building_gives_the_bytes_that_the_card_names(built):
    assert digests(built / "bf16") == digests(built / "again")
    card = CARD.read_text(encoding="utf-8")
    for form in ("bf16", "mxfp4"):
        assert digests(built / form)["model.safetensors"] in card, f"{form}: not in {CARD.name}"
    assert digests(built / "bf16")["tokenizer.json"] in card
    assert not list(built.glob(".*")), "a temporary folder was left"


@pytest.mark.full
def test_both_forms_hold_the_same_numbers(interpreter, built):
    found = in_stack(interpreter, "forms", str(built / "bf16"), str(built / "mxfp4"))
    assert found["differing"] == [] and found["experts"] == 12


@pytest.mark.full
def test_the_configuration_names_what_vllm_needs(built):
    config = json.loads((built / "mxfp4" / "config.json").read_text())
    assert config["architectures"] == ["GptOssForCausalLM"] and config["vocab_size"] == 201_088
    assert config["head_dim"] == 64 and not config["hidden_size"] % 128 and not config["intermediate_size"] % 128
    assert config["quantization_config"]["quant_method"] == "mxfp4"
    assert json.loads((built / "bf16" / "generation_config.json").read_text())["eos_token_id"] == [
        200002,
        199999,
        200012,
    ]


def test_the_compact_weights_stay_small():
    assert COMPACT.stat().st_size <= 8_000_000


@pytest.mark.real
def test_a_wrong_request_to_build_is_one_line(interpreter, tmp_path):
    argv = [str(interpreter), "-m", "helpers.instack.nano.build", "--out", str(tmp_path / "x"), "--weights", "nowhere"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "nowhere" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_the_twin_is_transformers_gpt_oss(interpreter):
    found = in_stack(interpreter, "twin")
    assert found["spread"] > 0.1
    assert found["alone"] < 1e-4 and found["packed"] < 1e-4


@pytest.mark.full
def test_the_tokenizer_is_harmonys(interpreter, built):
    found = in_stack(interpreter, "tokenizer", str(built / "bf16"))
    assert found["wrong"] == [] and found["texts"] > 2000
    assert found["special"] == [200005, 200012]


@pytest.mark.full
def test_prompts_are_the_ones_that_vllm_builds(interpreter):
    found = in_stack(interpreter, "prompts", "250")
    assert min(found["compared"].values()) > 100
    assert found["wrong"] == []


@pytest.mark.real
def test_nano_answers_on_both_endpoints(server):
    """A few cases of each skill; the whole evaluation is `cookbook nano eval`."""
    import asyncio

    from nano.evaluation.measure import NanoClient

    kept: dict[str, list] = {}
    for case in case_module.cases():
        kept.setdefault(case.skill, []).append(case)
    chosen = [case for skill, rows in kept.items() if skill != "evals" for case in rows[:6]]

    async def ask():
        client = NanoClient(server.base_url, server.model, 0.0)
        jobs = [(case, endpoint) for case in chosen for endpoint in case.endpoints]
        replies = await asyncio.gather(*(client.ask(*job) for job in jobs))
        await client.close()
        return [problem(case.sample, reply) for (case, _), reply in zip(jobs, replies, strict=True)]

    problems = asyncio.run(ask())
    wrong = [text for text in problems if text]
    assert len(wrong) <= 0.1 * len(problems), wrong


def test_eval_without_a_server_is_one_line(cli):
    done = cli("nano", "eval", "--base-url", "http://127.0.0.1:9", "--no-sampling")
    assert done.returncode == 1
    line = [text for text in done.stderr.splitlines() if text.startswith("cookbook:")]
    assert len(line) == 1 and "127.0.0.1:9" in line[0]


def test_the_card_names_every_tool_and_schema():
    from nano.domain.tools.toolbox import TOOLS

    card = CARD.read_text(encoding="utf-8")
    assert all(re.search(rf"\b{tool.names[0]}\b", card) for tool in TOOLS)


def test_the_cards_table_is_the_recorded_evaluation():
    from nano.evaluation.card import GREEDY, table
    from nano.evaluation.measure import BAR, REQUIRED

    assert table() in CARD.read_text(encoding="utf-8")
    skills = json.loads(GREEDY.read_text(encoding="utf-8"))["skills"]
    assert all(skills[skill]["passed"] >= BAR * skills[skill]["total"] for skill in REQUIRED)
