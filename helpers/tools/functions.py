"""Function calling: a JSON schema from a typed Python function, and the loop that runs what the model asks for.

tools = Toolbox([get_weather, add])
answer = converse(client, "gpt-oss-nano", "What is 17 + 25?", tools)         # chat completions
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, get_type_hints

from helpers.errors import CookbookError, UsageError
from helpers.tools.text import harmless, shorten

MAX_RESULT_CHARS = 16_000
MAX_ROUNDS = 8


class Toolbox:
    """Python functions that a model may call: their schemas for both APIs, and safe calls by name."""

    def __init__(self, functions: Iterable[Callable]):
        self.functions = {function.__name__: function for function in functions}
        self._models = {name: parameters(function) for name, function in self.functions.items()}

    def schemas(self) -> list[dict]:
        """The `tools` of a chat completion."""
        return [{"type": "function", "function": self._schema(name)} for name in self.functions]

    def response_schemas(self) -> list[dict]:
        """The `tools` of a Responses request, which has the function's fields one level higher."""
        return [{"type": "function"} | self._schema(name) for name in self.functions]

    def call(self, name: str, arguments: str) -> str:
        """Call a function with the model's JSON arguments. Whatever goes wrong becomes text for the model."""
        from pydantic import ValidationError

        if name not in self.functions:
            return f"Error: there is no function {name!r}; there are: {', '.join(self.functions)}."
        try:
            values = self._models[name].model_validate_json(arguments or "{}")
        except ValidationError as error:
            where = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors())
            return f"Error: bad arguments for {name}: {where}."
        try:
            result = self.functions[name](**{field: getattr(values, field) for field in type(values).model_fields})
        except Exception as error:
            return f"Error: {name} failed: {type(error).__name__}: {error}"
        return shorten(harmless(_text(result)), MAX_RESULT_CHARS)

    def _schema(self, name: str) -> dict:
        described = inspect.getdoc(self.functions[name]) or ""
        return {"name": name, "description": described, "parameters": _plain(self._models[name].model_json_schema())}


def parameters(function: Callable):
    """A pydantic model of the function's parameters. Raises UsageError for one without a type hint."""
    from pydantic import ConfigDict, create_model

    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise UsageError(f"{function.__name__} takes *{name}", why="a model needs named parameters", do="name them")
        if name not in hints:
            raise UsageError(
                f"{function.__name__}'s parameter {name!r} has no type", why="the schema comes from it", do="add one"
            )
        fields[name] = (hints[name], ... if parameter.default is parameter.empty else parameter.default)
    return create_model(function.__name__, __config__=ConfigDict(extra="ignore"), **fields)


def converse(client, model: str, messages: str | list[dict], tools: Toolbox, **options) -> list[dict]:
    """The chat-completions loop: ask, run every call, tell, until the model answers. Returns all messages.

    Raises CookbookError after `MAX_ROUNDS` rounds of calls.
    """
    messages = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    for _ in range(MAX_ROUNDS):
        asked = {"model": model, "messages": messages, "tools": tools.schemas(), **options}
        reply = client.chat.completions.create(**asked).choices[0].message
        messages.append(reply.model_dump(exclude_none=True))
        if not reply.tool_calls:
            return messages
        for call in reply.tool_calls:
            result = tools.call(call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        if options.get("tool_choice") not in (None, "auto", "none"):
            options.pop("tool_choice")  # forced once; forced for ever, it would never answer
    raise CookbookError(
        f"the model called functions {MAX_ROUNDS} times without answering",
        why="its calls may fail or their results may not tell it what it needs",
        do="look at the trace",
    )


def _plain(schema: Any) -> Any:
    """The schema without pydantic's titles, which only cost prompt tokens."""
    if isinstance(schema, dict):
        plain = {key: _plain(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
        if "properties" in schema:
            plain["properties"] = {name: _plain(value) for name, value in schema["properties"].items()}
        return plain
    return [_plain(part) for part in schema] if isinstance(schema, list) else schema


def _text(result: Any) -> str:
    """A result as the model reads it: text as it is, all else as JSON."""
    from pydantic_core import to_json

    return result if isinstance(result, str) else to_json(result, fallback=str).decode()
