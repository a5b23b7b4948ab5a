"""Bodies for every endpoint that the cookbook documents: a good request, overlaid with what users combine."""

from hypothesis import strategies as st

from hunt.drawing.values import (
    Strategy,
    choice,
    formats,
    long_texts,
    mostly,
    names,
    real,
    schemas,
    some,
    structured,
    text,
    tokens,
    whole,
)

SAMPLING = {  # what every endpoint that generates takes
    "temperature": real(0, 2),
    "top_p": real(0.01, 1),
    "top_k": whole(-1, 1_000),
    "min_p": real(0, 1),
    "seed": mostly(st.integers(-(2**63), 2**63 - 1), choice(2**63, 1.5, "1")),
    "presence_penalty": real(-2, 2),
    "frequency_penalty": real(-2, 2),
    "repetition_penalty": real(0.01, 2),
    "stop": st.one_of(some(text(4)), text(3)),
    "stop_token_ids": some(tokens),
    "logit_bias": st.dictionaries(tokens.map(str), real(-100, 100), max_size=3),
    "ignore_eos": st.booleans(),
    "skip_special_tokens": st.booleans(),
    "include_stop_str_in_output": st.booleans(),
    "stream": st.booleans(),
    "priority": whole(-5, 5),
    "cache_salt": text(5),
    "structured_outputs": structured,
    "watermarking": st.booleans(),
    "vllm_xargs": choice({}, {"a": 1}, {"a": [1.5]}, "a"),
    "kv_transfer_params": choice(
        {}, {"do_remote_decode": True}, {"do_remote_prefill": True, "remote_prefill_cached_tokens": -7}
    ),
    "request_id": choice("same", "", "a" * 5_000, "é"),
    "user": text(),
    "wizard": st.one_of(st.none(), st.integers(), text()),  # a field that nobody knows
}
TOGETHER = {  # what goes together: one step of drawing, and of shrinking
    "a seeded sample": st.fixed_dictionaries({"temperature": real(0, 2), "seed": st.integers(0, 2**31)}),
    "a random one": st.fixed_dictionaries({"temperature": st.just(1.0), "top_p": real(0.01, 1)}),
}
BY_TOKEN = {  # completions and chat
    "n": whole(1, 12),
    "min_tokens": whole(0, 8),
    "prompt_logprobs": whole(0, 20),
    "logprob_token_ids": some(tokens),
    "allowed_token_ids": some(tokens),
    "bad_words": some(text(6)),
    "use_beam_search": st.booleans(),
    "length_penalty": real(0, 2),
    "spaces_between_special_tokens": st.booleans(),
    "truncate_prompt_tokens": whole(-1, 8_192),
    "truncation_side": choice("left", "right", "middle"),
    "stream_options": choice(
        {"include_usage": True}, {"continuous_usage_stats": True, "include_usage": True}, {}, None, {"x": 1}
    ),
    "stream_interval": whole(1, 10),
    "response_format": formats,
    "return_token_ids": st.booleans(),
    "return_tokens_as_token_ids": st.booleans(),
    "return_token_offsets": st.booleans(),
    "routed_experts_prompt_start": whole(0, 4),
    "thinking_token_budget": whole(-1, 4),
    "repetition_detection": choice(
        {"max_pattern_size": 3, "min_pattern_size": 1, "min_count": 2}, {"max_pattern_size": 2**40}
    ),
    "prompt_embeds": choice("AAAA", "", ["AAAA"]),
    "add_special_tokens": st.booleans(),
}
functions = st.builds(
    lambda name, schema: {"type": "function", "function": {"name": name, "parameters": schema}}, names, schemas
)
other_tools = choice(
    {"type": "wizard"}, {"type": "function"}, {}, {"type": "custom", "custom": {"name": "x"}}, {"type": "browser"}
)
tool_choices = choice(
    "auto", "none", "required", {"type": "function", "function": {"name": "f"}}, "wizard", {"type": "function"}
)
images = choice(
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "video_url", "video_url": {"url": "file:///etc/hostname"}},
    {"type": "refusal", "refusal": "no"},
    {"type": "thinking", "thinking": "x"},
    {"type": "wizard"},
    {"type": "text"},
)
calls = st.builds(
    lambda name, arguments: [{"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}],
    names,
    choice("{}", "{", "", "[1]", '{"a": 1}'),
)
messages = st.one_of(
    text().map(lambda words: {"role": "user", "content": words}),
    st.builds(
        lambda role, words: {"role": role, "content": words}, choice("system", "developer", "assistant", "user"), text()
    ),
    st.lists(st.one_of(text().map(lambda t: {"type": "text", "text": t}), images), max_size=3).map(
        lambda parts: {"role": "user", "content": parts}
    ),
    calls.map(lambda made: {"role": "assistant", "content": None, "tool_calls": made}),
    text().map(lambda words: {"role": "tool", "tool_call_id": "c1", "content": words}),
    st.builds(lambda why, words: {"role": "assistant", "reasoning": why, "content": words}, text(), text()),
    choice(
        {"role": "wizard", "content": "x"}, {"role": "user"}, {"content": "x"}, {"role": "user", "content": None}, {}
    ),
)
CHAT = {
    **SAMPLING,
    **BY_TOKEN,
    "logprobs": st.booleans(),
    "top_logprobs": whole(0, 20),
    "tools": some(mostly(functions, other_tools), 3),
    "tool_choice": tool_choices,
    "parallel_tool_calls": st.booleans(),
    "reasoning_effort": choice("low", "medium", "high", "none", "wizard"),
    "include_reasoning": st.booleans(),
    "echo": st.booleans(),
    "continue_final_message": st.booleans(),
    "add_generation_prompt": st.booleans(),
    "chat_template": choice("{{ 1/0 }}", "{{ messages }}", "{%"),
    "chat_template_kwargs": choice({}, {"tokenize": True}, {"messages": 1}),
    "documents": choice([{"a": "b"}], []),
    "max_completion_tokens": whole(1, 16),
}
COMPLETION = {**SAMPLING, **BY_TOKEN, "logprobs": whole(0, 20), "echo": st.booleans(), "suffix": text()}
RESPONSES = {
    **SAMPLING,
    "background": st.booleans(),
    "store": st.booleans(),
    "instructions": text(),
    "include": some(choice("message.output_text.logprobs", "reasoning.encrypted_content", "wizard")),
    "top_logprobs": whole(0, 20),
    "truncation": choice("auto", "disabled", "wizard"),
    "max_tool_calls": whole(0, 3),
    "previous_response_id": choice("resp_x", "", "resp_" + "0" * 16),
    "previous_input_messages": choice([], [{"role": "user", "content": "x"}], [{}]),
    "reasoning": choice({"effort": "low"}, {"effort": "high"}, {"effort": "none"}, {}, {"effort": "wizard"}),
    "text": formats.map(lambda wanted: {"format": (wanted or {}) | ((wanted or {}).get("json_schema") or {})}),
    "tools": some(
        mostly(
            st.builds(lambda name, schema: {"type": "function", "name": name, "parameters": schema}, names, schemas),
            choice(
                {"type": "file_search", "vector_store_ids": ["a"]},
                {"type": "custom", "name": "x"},
                {"type": "wizard"},
                {"type": "code_interpreter", "container": {"type": "auto"}},
                {"type": "web_search_preview"},
                {"type": "mcp", "server_label": "x", "server_url": "http://127.0.0.1:9"},
            ),
            4,
        ),
        3,
    ),
    "tool_choice": choice("auto", "none", "required", {"type": "function", "name": "f"}, "wizard"),
    "enable_response_messages": st.booleans(),
    "prompt": choice({"id": "x"}, None),
    "service_tier": choice("auto", "flex", "wizard"),
    "metadata": choice({"a": "b"}, {"a": 1}, {str(n): "x" for n in range(40)}),
}
items = st.one_of(
    messages,
    choice(
        {"type": "reasoning", "id": "x", "summary": []},
        {"type": "item_reference", "id": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": "y"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
        {"role": "user", "content": [{"type": "input_file", "file_data": "AAAA"}]},
        {"type": "wizard"},
    ),
)
MESSAGES = {
    **{
        name: SAMPLING[name]
        for name in ("temperature", "top_p", "top_k", "stream", "cache_salt", "watermarking", "wizard")
    },
    "system": st.one_of(text(), st.just([{"type": "text", "text": "x"}])),
    "stop_sequences": some(text(4)),
    "thinking": choice(
        {"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}, {"type": "adaptive"}, {"type": "wizard"}
    ),
    "tools": some(st.builds(lambda name, schema: {"name": name, "input_schema": schema}, names, schemas), 3),
    "tool_choice": choice(
        {"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "f"}, {"type": "wizard"}
    ),
    "metadata": choice({"user_id": "x"}, {}),
    "output_config": schemas.map(lambda s: {"format": {"type": "json_schema", "schema": s}}),
}
blocks = choice(
    {"type": "text", "text": "What is 2 + 2?"},
    {"type": "tool_result", "tool_use_id": "c1", "content": "x"},
    {"type": "wizard"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
    {"type": "thinking", "thinking": "x"},
    {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
    {"type": "document", "source": {"type": "text", "data": "x"}},
)
turns = st.builds(
    lambda role, content: {"role": role, "content": content},
    mostly(choice("user", "assistant"), choice("system", "tool", "wizard")),
    st.one_of(text(), st.lists(blocks, max_size=3)),
)
LENGTHS = {"max_tokens": mostly(st.integers(1, 16), choice(0, -1, 2**40, None, 8_192, "4"), 12)}


prompts = st.integers(1, 60).flatmap(
    lambda n: (
        long_texts
        if n > 52
        else st.lists(tokens, max_size=12)
        if n > 48
        else st.lists(text(), max_size=3)
        if n > 44
        else choice("", [], [[]], [[1], []], None, {}, 7)
        if n > 40
        else text()
    )
)
histories = st.integers(1, 60).flatmap(
    lambda n: (
        long_texts.map(lambda long: [{"role": "user", "content": long}])
        if n > 52
        else some(messages, 3)
        if n > 30
        else st.just([{"role": "user", "content": "What is 2 + 2?"}])
    )
)


OFTEN = (
    "seed",
    "temperature",
    "stream",
    "n",
    "logprobs",
    "stop",
    "min_tokens",
    "structured_outputs",
    "tools",
    "stop_token_ids",
)
OFTEN_BY = 4  # times more than other parameters: what users combine most


def overlaid(base: dict[str, Strategy], overlays: dict[str, Strategy], most: int = 6) -> Strategy:
    """A good body with up to `most` of the parameters laid over it, each with its value: one less is one step of shrinking."""
    if not overlays:
        return st.fixed_dictionaries(base)
    names_of_all = sorted(overlays) + OFTEN_BY * [name for name in OFTEN if name in overlays]
    one = st.sampled_from(names_of_all).flatmap(lambda name: st.tuples(st.just(name), overlays[name]))
    if "seed" in overlays:
        group = st.sampled_from(sorted(TOGETHER)).flatmap(lambda name: st.tuples(st.just(name), TOGETHER[name]))
        one = st.integers(0, 7).flatmap(lambda n, single=one: group if n == 7 else single)
    some_of_them = st.lists(one, max_size=most, unique_by=lambda pair: pair[0])
    return st.builds(_laid_over, st.fixed_dictionaries(base), some_of_them)


def _laid_over(good: dict, over: list[tuple[str, object]]) -> dict:
    """The good body with every parameter, those that go together one by one."""
    for name, value in over:
        good = good | (value if name in TOGETHER else {name: value})
    return good


def combined(model: str) -> dict[str, Strategy]:
    """path -> bodies of that endpoint, for a server that calls its model so."""
    named = {"model": mostly(st.just(model), choice("wizard", "", None, 7), 30)}
    output = {"max_output_tokens": LENGTHS["max_tokens"]}
    inputs = st.one_of(text(), some(items, 3), choice("", [], None))
    return {
        "/v1/chat/completions": overlaid(named | {"messages": histories} | LENGTHS, CHAT),
        "/v1/completions": overlaid(named | {"prompt": prompts} | LENGTHS, COMPLETION),
        "/v1/responses": overlaid(named | {"input": inputs} | output, RESPONSES),
        "/v1/messages": overlaid(named | {"messages": some(turns, 3)} | LENGTHS, MESSAGES),
        "/v1/messages/count_tokens": overlaid(
            named | {"messages": some(turns, 3)}, {"system": text(), "tools": MESSAGES["tools"]}
        ),
        "/tokenize": overlaid(
            named | {"prompt": prompts}, {"return_token_strs": st.booleans(), "add_special_tokens": st.booleans()}
        ),
        "/detokenize": overlaid(named | {"tokens": some(tokens, 8)}, {}),
        "/v1/embeddings": overlaid(named | {"input": text()}, {"dimensions": whole(1, 9)}),
    }
