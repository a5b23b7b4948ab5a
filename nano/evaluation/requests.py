"""Samples as the bodies of HTTP requests: chat completions and Responses."""

import json

from nano.domain.sample import Sample

_BUILTIN_TOOLS = {
    "python": {"type": "code_interpreter", "container": {"type": "auto"}},
    "browser": {"type": "web_search_preview"},
}


def chat_body(sample: Sample, model: str, **extra) -> dict:
    """The body for `/v1/chat/completions`."""
    messages: list[dict] = []
    if sample.instructions:
        messages.append({"role": "system", "content": sample.instructions})
    last = ""
    for index, entry in enumerate(sample.history):
        if entry["role"] == "tool":
            messages.append({"role": "tool", "tool_call_id": last, "content": entry["content"]})
        elif "call" in entry:
            name, arguments = entry["call"]
            last = f"call_{index}"
            function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
            message = {"role": "assistant", "tool_calls": [{"id": last, "type": "function", "function": function}]}
            if entry.get("reasoning"):
                message["reasoning"] = entry["reasoning"]
            messages.append(message)
        else:
            messages.append({"role": entry["role"], "content": entry["content"]})
    body = {"model": model, "messages": messages, "reasoning_effort": sample.effort} | extra
    if sample.tools:
        body["tools"] = sample.tools
    if sample.schema:
        schema = {"name": sample.task or "answer", "schema": sample.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def responses_body(sample: Sample, model: str, **extra) -> dict:
    """The body for `/v1/responses`."""
    items: list[dict] = []
    last = ""
    for index, entry in enumerate(sample.history):
        if entry["role"] == "tool":
            items.append({"type": "function_call_output", "call_id": last, "output": entry["content"]})
        elif "call" in entry:
            name, arguments = entry["call"]
            last = f"call_{index}"
            if entry.get("reasoning"):
                content = [{"type": "reasoning_text", "text": entry["reasoning"]}]
                items.append({"type": "reasoning", "id": f"rs_{index}", "summary": [], "content": content})
            arguments = json.dumps(arguments, ensure_ascii=False)
            items.append({"type": "function_call", "call_id": last, "name": name, "arguments": arguments})
        else:
            items.append({"role": entry["role"], "content": entry["content"]})
    body = {"model": model, "input": items, "reasoning": {"effort": sample.effort}, "store": False} | extra
    if sample.instructions:
        body["instructions"] = sample.instructions
    tools = [{"type": "function", **tool["function"]} for tool in sample.tools]
    tools += [_BUILTIN_TOOLS[section["name"]] for section in sample.namespaces]
    if tools:
        body["tools"] = tools
    if sample.schema:
        schema = {"type": "json_schema", "name": sample.task or "answer", "schema": sample.schema, "strict": True}
        body["text"] = {"format": schema}
    return body
