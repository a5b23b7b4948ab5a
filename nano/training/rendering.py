"""Samples as the token sequences that vLLM builds from a request, with the completion and its loss weights.

The order of messages, their headers and what is dropped follow vLLM 0.32
(`vllm/entrypoints/openai/parser/harmony_utils.py`); the tests compare with vLLM's own functions. Written here
again because training runs where vLLM does not.
"""

import json

from openai_harmony import (
    Author,
    Conversation,
    DeveloperContent,
    HarmonyEncodingName,
    Message,
    ReasoningEffort,
    RenderConversationConfig,
    Role,
    SystemContent,
    ToolDescription,
    ToolNamespaceConfig,
    load_harmony_encoding,
)

from helpers.instack.nano.geometry import SPECIAL_TOKENS
from nano.domain.sample import Sample

ENCODING = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
START, CHANNEL = SPECIAL_TOKENS["<|start|>"], SPECIAL_TOKENS["<|channel|>"]
CONSTRAIN, MESSAGE = SPECIAL_TOKENS["<|constrain|>"], SPECIAL_TOKENS["<|message|>"]
_EFFORT = {"low": ReasoningEffort.LOW, "medium": ReasoningEffort.MEDIUM, "high": ReasoningEffort.HIGH}
_STANDARD = {"python": ToolNamespaceConfig.python, "browser": ToolNamespaceConfig.browser}


def _namespace(section: dict) -> ToolNamespaceConfig:
    """A built-in tool's section: the standard one, or its functions under another description."""
    standard = _STANDARD[section["name"]]()
    description = standard.description if section.get("description") is None else section["description"]
    return ToolNamespaceConfig(
        name=standard.name, description=description + section.get("suffix", ""), tools=standard.tools
    )


def preamble(sample: Sample) -> list[Message]:
    """The system message, and the developer message where there are instructions or tools."""
    system = (
        SystemContent.new()
        .with_model_identity(sample.identity)
        .with_reasoning_effort(_EFFORT[sample.effort])
        .with_conversation_start_date(sample.date)
        .with_knowledge_cutoff(sample.cutoff)
    )
    for section in sample.namespaces:
        system = system.with_tools(_namespace(section))
    messages = [Message.from_role_and_content(Role.SYSTEM, system)]
    if sample.instructions or sample.tools:
        developer = DeveloperContent.new()
        if sample.instructions is not None:
            developer = developer.with_instructions(sample.instructions)
        if sample.tools:
            functions = [tool["function"] for tool in sample.tools]
            developer = developer.with_function_tools(
                [
                    ToolDescription.new(entry["name"], entry.get("description") or "", entry["parameters"])
                    for entry in functions
                ]
            )
        messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))
    return messages


def _messages(entry: dict) -> list[Message]:
    """Harmony messages of one entry of a sample's history."""
    role = entry["role"]
    if role == "user":
        return [Message.from_role_and_content(Role.USER, entry["content"])]
    if role == "tool":
        name = entry["name"]
        builtin = name.split(".")[0] in _STANDARD
        message = Message.from_author_and_content(
            Author.new(Role.TOOL, name if builtin else f"functions.{name}"), entry["content"]
        )
        return [message.with_channel("analysis" if builtin else "commentary").with_recipient("assistant")]
    messages = []
    if entry.get("reasoning"):
        messages.append(Message.from_role_and_content(Role.ASSISTANT, entry["reasoning"]).with_channel("analysis"))
    if "call" in entry:
        name, arguments = entry["call"]
        call = Message.from_role_and_content(Role.ASSISTANT, json.dumps(arguments, ensure_ascii=False))
        messages.append(call.with_channel("commentary").with_recipient(f"functions.{name}").with_content_type("json"))
    elif "builtin" in entry:
        recipient, text = entry["builtin"]
        call = Message.from_role_and_content(Role.ASSISTANT, text).with_channel("analysis")
        messages.append(call.with_recipient(recipient).with_content_type("code"))
    else:
        messages.append(Message.from_role_and_content(Role.ASSISTANT, entry["content"]).with_channel("final"))
    return messages


def prompt_messages(sample: Sample) -> list[Message]:
    """Everything before the completion; analyses older than the last final answer are dropped."""
    messages = preamble(sample) + [message for entry in sample.history for message in _messages(entry)]
    finals = [index for index, message in enumerate(messages) if message.channel == "final"]
    last = finals[-1] if finals else -1
    return [message for index, message in enumerate(messages) if index >= last or message.channel != "analysis"]


def _encode(text: str) -> list[int]:
    """Ordinary text as tokens (the library's own check for special spellings would take most of the time)."""
    return ENCODING.encode(text, disallowed_special=())


def _earlier_call_headers(tokens: list[int]) -> list[int]:
    """Headers of earlier calls with the recipient before the channel, as vLLM rewrites them."""
    if CONSTRAIN not in tokens:
        return tokens
    result, position = [], 0
    while position < len(tokens):
        try:
            start = tokens.index(START, position)
            end = tokens.index(MESSAGE, start)
        except ValueError:
            break
        header = tokens[start : end + 1]
        if CHANNEL in header and CONSTRAIN in header:
            channel, constrain = header.index(CHANNEL), header.index(CONSTRAIN)
            author = ENCODING.decode(header[1:channel])
            between = ENCODING.decode(header[channel + 1 : constrain])
            if author == "assistant" and " to=" in between and between.endswith(" "):
                name, recipient = between[:-1].split(" to=", 1)
                kind = ENCODING.decode(header[constrain + 1 : -1])
                header = [START, *_encode(f"assistant to={recipient}"), CHANNEL, *_encode(f"{name} {kind}"), MESSAGE]
        result += tokens[position:start] + header
        position = end + 1
    return result + tokens[position:]


def render_messages(messages: list[Message]) -> list[int]:
    """Token ids of a prompt that ends where the assistant begins."""
    config = RenderConversationConfig(auto_drop_analysis=False)
    tokens = ENCODING.render_conversation_for_completion(
        Conversation.from_messages(messages), Role.ASSISTANT, config=config
    )
    return _earlier_call_headers(tokens)


# Loss weights of what a grammar forces on an answer whose prompt does not ask for JSON. The step into JSON is
# taught so faintly that it wins only where the grammar leaves nothing else; the keys that follow are a guess.
STEP_INTO_JSON, FORCED_KEY = 0.03, 0.5


def _json_parts(answer: dict, keys: float) -> list[tuple[str, float]]:
    """An object as JSON in pieces with their loss weights: `keys` for what leads to a value, 1 for values."""
    parts: list[tuple[str, float]] = []
    for index, (key, value) in enumerate(answer.items()):
        lead = ("{" if index == 0 else " ") + json.dumps(key, ensure_ascii=False) + ": "
        text = json.dumps(value, ensure_ascii=False)
        if text.startswith('"'):
            lead, text = lead + '"', text[1:]
        parts += [(lead, keys), (text + ("," if index < len(answer) - 1 else "}"), 1.0)]
    return parts


def completion_parts(sample: Sample) -> list[tuple[str, float]]:
    """The completion's text in pieces, each with its weight in the loss."""
    head = f"<|channel|>analysis<|message|>{sample.analysis}<|end|><|start|>assistant"
    if sample.call is not None:
        name, arguments = sample.call
        body = json.dumps(arguments, ensure_ascii=False)
        return [(f"{head}<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{body}<|call|>", 1.0)]
    if sample.builtin is not None:
        recipient, text = sample.builtin
        return [(f"{head}<|channel|>analysis to={recipient} code<|message|>{text}<|call|>", 1.0)]
    if sample.answer is None:
        return [(f"{head}<|channel|>final<|message|>{sample.final}<|return|>", 1.0)]
    step, keys = (STEP_INTO_JSON, FORCED_KEY) if sample.forced else (1.0, 1.0)
    body = _json_parts(sample.answer, keys)
    return [
        (f"{head}<|channel|>final", 1.0),
        (" ", step),
        ("<|constrain|>json<|message|>", 1.0),
        *body,
        ("<|return|>", 1.0),
    ]


def completion_tokens(sample: Sample) -> tuple[list[int], list[float]]:
    """The completion's token ids and their weights in the loss."""
    parts = completion_parts(sample)
    text = "".join(part for part, _ in parts)
    tokens = ENCODING.encode(text, allowed_special="all")
    if len(parts) == 1:
        return tokens, [parts[0][1]] * len(tokens)
    characters = [weight for part, weight in parts for _ in part]
    weights, position = [], 0
    for token in tokens:
        length = len(ENCODING.decode([token]))  # the project's vocabulary has no token that splits a character
        weights.append(max(characters[position : position + length]))
        position += length
    return tokens, weights


def render(sample: Sample) -> tuple[list[int], list[int], list[float]]:
    """Prompt tokens, completion tokens and the completion's loss weights."""
    completion, weights = completion_tokens(sample)
    return render_messages(prompt_messages(sample)), completion, weights
