"""Checks of gpt-oss-nano that need the stack's Python; `test_nano.py` runs them. Usage: in_stack.py CHECK [ARGS]"""

import json
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def random_compact(geometry, seed: int, tokens: int) -> dict:
    """Compact weights of the right shapes with random numbers: what there is before any training."""
    import torch

    from helpers.instack.nano.weights import pack, quantise

    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 0.05):
        return torch.randn(*shape, generator=generator) * scale

    g = geometry
    query, kv = g.query_heads * g.head_dim, g.kv_heads * g.head_dim
    weights = {
        "token_ids": torch.arange(tokens, dtype=torch.int32),
        "embed": normal(tokens + 1, g.hidden, scale=1.0),
        "unembed": normal(tokens + 1, g.hidden),
        "norm": torch.ones(g.hidden),
    }
    for layer in range(g.layers):
        prefix = f"layers.{layer}."
        for name, rows in (("q_proj", query), ("k_proj", kv), ("v_proj", kv)):
            weights[prefix + f"{name}.weight"] = normal(rows, g.hidden)
            weights[prefix + f"{name}.bias"] = torch.zeros(rows)
        weights[prefix + "o_proj.weight"] = normal(g.hidden, query)
        weights[prefix + "o_proj.bias"] = torch.zeros(g.hidden)
        weights[prefix + "sinks"] = normal(g.query_heads)
        weights[prefix + "norm1"] = torch.ones(g.hidden)
        weights[prefix + "norm2"] = torch.ones(g.hidden)
        weights[prefix + "router.weight"] = normal(g.experts, g.hidden)
        weights[prefix + "router.bias"] = normal(g.experts)
        for name, rows, columns in (("gate_up", 2 * g.intermediate, g.hidden), ("down", g.hidden, g.intermediate)):
            codes, scales = quantise(normal(g.experts, rows, columns))
            weights[prefix + f"{name}.blocks"], weights[prefix + f"{name}.scales"] = pack(codes), scales
            weights[prefix + f"{name}.bias"] = torch.zeros(g.experts, rows)
    return {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def twin() -> dict:
    """The largest difference between the twin's and transformers' logits, on random weights, packed and not."""
    import torch
    from transformers import GptOssConfig, GptOssForCausalLM

    from helpers.instack.nano.geometry import CheckpointGeometry
    from helpers.instack.nano.weights import checkpoint
    from nano.training.twin import Twin, allowed_pairs, dense_attention

    geometry, tokens = CheckpointGeometry(), 200
    compact = random_compact(geometry, 3, tokens)
    generator = torch.Generator().manual_seed(1)
    for name in compact:  # zero biases and sinks would hide a missing one
        if name.endswith(("bias", "sinks")):
            compact[name] = (torch.randn(compact[name].shape, generator=generator) * 0.5).bfloat16()
    config = geometry.config("bf16") | {"vocab_size": tokens + 1, "pad_token_id": None, "eos_token_id": None}
    config = GptOssConfig(**config)
    config._attn_implementation = "eager"
    reference = GptOssForCausalLM(config).float().eval()
    full = checkpoint(geometry, compact, "bf16")
    full |= {"model.embed_tokens.weight": compact["embed"], "lm_head.weight": compact["unembed"]}
    reference.load_state_dict({name: tensor.float() for name, tensor in full.items()})
    twin = Twin(geometry, tokens)
    twin.load_compact(compact)
    ids = torch.randint(0, tokens, (2, 300), generator=generator)  # longer than the sliding window

    def run(tokens, documents, positions):
        window = geometry.sliding_window
        masks = [allowed_pairs(documents, window), allowed_pairs(documents, None)]
        logits = twin.logits(twin(tokens, positions, masks, dense_attention)[0])
        logits[..., -1] -= twin.unused_log  # the class stands for many tokens; transformers has one row
        return logits

    with torch.no_grad():
        wanted = reference(ids).logits
        alone = run(ids, torch.zeros_like(ids), torch.arange(300).expand(2, -1))
        lengths = (120, 180)
        packed = run(
            torch.cat([ids[:1, :120], ids[1:, :180]], 1),
            torch.cat([torch.full((1, length), number) for number, length in enumerate(lengths)], 1),
            torch.cat([torch.arange(length) for length in lengths])[None],
        )
        both = torch.cat([wanted[0, :120], wanted[1, :180]])
    return {
        "alone": float((alone - wanted).abs().max()),
        "packed": float((packed[0] - both).abs().max()),
        "spread": float(wanted.std()),
    }


def forms(bf16: str, mxfp4: str) -> dict:
    """Tensors of the two forms that differ, the experts after dequantisation."""
    import torch
    from safetensors import safe_open

    from helpers.instack.nano.weights import dequantise, unpack

    differing, experts = [], 0
    with safe_open(f"{bf16}/model.safetensors", "pt") as one, safe_open(f"{mxfp4}/model.safetensors", "pt") as two:
        for name in one.keys():  # noqa: SIM118
            tensor = one.get_tensor(name)
            if name.endswith(("gate_up_proj", "down_proj")):
                experts += 1
                other = dequantise(unpack(two.get_tensor(f"{name}_blocks")), two.get_tensor(f"{name}_scales"))
                same = torch.equal(tensor.float(), other.transpose(1, 2))
            else:
                same = torch.equal(tensor, two.get_tensor(name))
            if not same:
                differing.append(name)
    return {"differing": differing, "experts": experts}


def tokenizer(folder: str) -> dict:
    """Strings that the rebuilt tokenizer and openai_harmony encode differently."""
    from tokenizers import Tokenizer

    from helpers.instack.nano.geometry import TEXT_TOKENS
    from nano.training.rendering import ENCODING

    ours = Tokenizer.from_file(f"{folder}/tokenizer.json")
    draw = random.Random(0)
    pieces = [
        "a",
        "B",
        "z",
        " ",
        "  ",
        "\n",
        "1",
        "23",
        "é",
        "中",
        ".",
        "'s",
        '"',
        "{",
        "Q",
        "th",
        "ing",
        "ß",
        "\t",
        "123456",
    ]
    texts = ["".join(draw.choices(pieces, k=draw.randint(1, 30))) for _ in range(2000)]
    texts += [
        "naïve façade — 中文 テスト\n\n  x=1;\tprint('hi')",
        "Don't WE'll 1234567 HelloWorld",
        '{"city": "São Paulo"}',
    ]
    # words put together from halves of tokens: what the merges decide, since a token as it stands is looked up whole
    halves = [ENCODING.decode([draw.randrange(TEXT_TOKENS)]).strip() for _ in range(12_000)]
    halves = [text for text in halves if text.isalpha()]
    texts += ["".join(half[: draw.randint(1, 9)] for half in draw.sample(halves, 5)) for _ in range(3000)]
    wrong = [text for text in texts if ours.encode(text, add_special_tokens=False).ids != ENCODING.encode(text)]
    special = ours.token_to_id("<|channel|>"), ours.token_to_id("<|call|>")
    return {"wrong": wrong[:5], "texts": len(texts), "special": special}


def prompts(count: str) -> dict:
    """Samples whose prompt differs from what vLLM's own functions build from the two APIs' requests."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.parser.harmony_utils import (
        build_harmony_preamble,
        extract_instructions_from_messages,
        parse_chat_inputs_to_harmony_messages,
        render_for_completion,
    )
    from vllm.entrypoints.openai.responses.harmony import response_input_to_harmony
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest

    from nano.domain.generator import training_samples
    from nano.domain.sample import CUTOFF, IDENTITY
    from nano.evaluation.requests import chat_body, responses_body
    from nano.training.rendering import ENCODING, _namespace, prompt_messages, render_messages

    compared, wrong = {"chat": 0, "responses": 0}, []
    for sample in training_samples(5, int(count)):
        sample.cutoff, sample.identity = CUTOFF, IDENTITY  # what no request can set
        os.environ["VLLM_SYSTEM_START_DATE"] = sample.date
        ours = render_messages(prompt_messages(sample))
        if any("builtin" in entry for entry in sample.history):
            continue  # such a history exists only inside one Responses request
        built = {}
        if not sample.namespaces:
            request = ChatCompletionRequest(**chat_body(sample, "m"))
            instructions, rest = extract_instructions_from_messages(list(request.messages))
            messages = build_harmony_preamble(
                instructions=instructions, tools=request.tools, reasoning_effort=request.reasoning_effort
            )
            built["chat"] = messages + parse_chat_inputs_to_harmony_messages(rest)
        request = ResponsesRequest(**responses_body(sample, "m"))
        functions = [tool for tool in request.tools or [] if tool.type == "function"]
        messages = build_harmony_preamble(
            instructions=request.instructions,
            tools=request.tools if functions else None,
            reasoning_effort=request.reasoning.effort,
            **{f"{section['name']}_description": _namespace(section) for section in sample.namespaces},
        )
        calls = []
        for item in request.input:
            message = response_input_to_harmony(item, calls)
            messages += [message] if message is not None else []
            calls += [item] if type(item).__name__ == "ResponseFunctionToolCall" else []
        built["responses"] = messages
        for endpoint, messages in built.items():
            compared[endpoint] += 1
            theirs = render_for_completion(messages)
            if theirs != ours:
                wrong.append([endpoint, ENCODING.decode(theirs), ENCODING.decode(ours)])
    return {"compared": compared, "wrong": wrong[:2]}


def spans() -> dict:
    """How far the CPU's attention and experts are from the dense ones, in logits and in gradients, packed."""
    import numpy
    import torch

    from helpers.instack.nano.geometry import CheckpointGeometry
    from nano.training.spans import chosen_experts, span_attention, spans
    from nano.training.twin import Twin, allowed_pairs, dense_attention

    torch.manual_seed(2)
    geometry, cuts = CheckpointGeometry(layers=2), ((0, 170), (170, 400))
    twin = Twin(geometry, 200, tied=True)
    for layer in twin.layers:  # sinks of zero would hide missing ones
        torch.nn.init.normal_(layer["sinks"])
    documents = numpy.zeros((2, 400), numpy.int32)
    documents[0, cuts[1][0] :] = 1
    tokens = torch.randint(0, 200, (2, 400))
    positions = torch.stack([torch.cat([torch.arange(end - start) for start, end in cuts]), torch.arange(400)])

    def run(attention, masks):
        twin.zero_grad()
        hidden, balance = twin(tokens, positions, masks, attention)
        logits = twin.logits(hidden)
        (torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()) + balance).backward()
        return logits.detach(), {name: part.grad.clone() for name, part in twin.named_parameters()}

    pairs = torch.from_numpy(documents)
    dense = run(dense_attention, [allowed_pairs(pairs, 128), allowed_pairs(pairs, None)])
    twin.experts, parts = chosen_experts, spans(documents)
    quick = run(span_attention, [(parts, 128), (parts, None)])
    return {
        "spans": parts,
        "logits": float((dense[0] - quick[0]).abs().max()),
        "gradients": max(float((dense[1][name] - quick[1][name]).abs().max()) for name in dense[1]),
        "steepest": max(float(part.abs().max()) for part in dense[1].values()),
    }


def later_stage(init: str, out: str) -> dict:
    """Two small steps from the compact weights `init`: the header and the vocabulary of what they give."""
    from safetensors import safe_open

    from nano.training.train import Settings, train

    settings = Settings(seed=5, steps=2, rows=1, length=1024, rate=1e-4, warmup=1, emphasis="question=0.9")
    train(settings, Path(out), "cpu", workers=1, seconds=None, every=10, samples=8, init=Path(init))
    with safe_open(init, "pt") as before, safe_open(out, "pt") as after:
        names = sorted(before.keys())
        same = names == sorted(after.keys()) and all(
            before.get_slice(name).get_shape() == after.get_slice(name).get_shape() for name in names
        )
        return {
            "same_shapes": same,
            "same_vocabulary": bool((before.get_tensor("token_ids") == after.get_tensor("token_ids")).all()),
            "learned": bool((before.get_tensor("embed") != after.get_tensor("embed")).any()),
            "settings": json.loads(after.metadata()["settings"]),
            "stages": json.loads(after.metadata()["stages"]),
            "first": json.loads(before.metadata()["settings"]),
        }


CHECKS = (twin, forms, tokenizer, prompts, spans, later_stage)

if __name__ == "__main__":
    print(json.dumps({check.__name__: check for check in CHECKS}[sys.argv[1]](*sys.argv[2:])))
