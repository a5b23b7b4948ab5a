"""What stands beside a chat server: spans of personal data from a filter's scores, masked; a verdict; the filter's command."""

import json
from types import SimpleNamespace

import pytest

from helpers.errors import CookbookError
from helpers.recipes import load_model
from maintain.clients import policy
from maintain.clients.policy import Span, best_path, joined, masked, verdict

LABELS = ["O", *(f"{kind}-{label}" for label in ("name", "mail") for kind in "BIES")]


def scores(*rows: dict[str, float]) -> list[list[float]]:
    """A row for each token: what is named, and little for the rest."""
    return [[row.get(label, 0.01) for label in LABELS] for row in rows]


@pytest.mark.parametrize(
    ("rows", "path"),
    [
        (({"O": 0.9}, {"S-name": 0.9}, {"O": 0.9}), ["O", "S-name", "O"]),
        (({"B-name": 0.9}, {"I-name": 0.9}, {"E-name": 0.9}), ["B-name", "I-name", "E-name"]),
        (({"B-name": 0.9}, {"E-mail": 0.5, "E-name": 0.4}), ["B-name", "E-name"]),  # an end of its own kind
        (({"I-name": 0.6, "B-name": 0.3}, {"E-name": 0.9}), ["B-name", "E-name"]),  # nothing begins inside
        (({"O": 0.4, "B-name": 0.5}, {"O": 0.9}), ["O", "O"]),  # a span that nothing ends is none
        (({"S-name": 0.9}, {"S-name": 0.9}), ["S-name", "S-name"]),
    ],
)
def test_the_likeliest_path_makes_whole_spans(rows: tuple[dict, ...], path: list[str]) -> None:
    assert best_path(scores(*rows), LABELS) == path


def test_spans_stand_at_their_characters_without_the_spaces_around() -> None:
    text = "I am Kim Novak, kim@x.org"
    ends = [1, 4, 8, 14, 15, 25]
    path = ["O", "O", "B-name", "E-name", "O", "S-mail"]
    found = joined(path, [0, *ends[:-1]], ends, text)
    assert found == [Span(5, 14, "name"), Span(16, 25, "mail")]
    assert masked(text, found) == "I am [name], [mail]" and masked(text, []) == text


def client(content: str, finish: str = "stop", **message: str) -> SimpleNamespace:
    """An OpenAI client that answers the same to all, and keeps what it was asked."""
    asked: list[dict] = []
    choice = SimpleNamespace(finish_reason=finish, message=SimpleNamespace(content=content, **message))

    def create(**body: object) -> SimpleNamespace:
        asked.append(body)
        return SimpleNamespace(choices=[choice])

    return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)), asked=asked)


def test_the_policy_is_the_system_message_and_the_verdict_names_a_rule() -> None:
    asked = client(json.dumps({"violation": True, "rule": "spam"}), reasoning="It offers goods.")
    assert verdict(asked, "m", "No spam.", ["spam"], "Buy!") == policy.Verdict(True, "spam", "It offers goods.")
    (body,) = asked.asked
    assert [(one["role"], one["content"]) for one in body["messages"]] == [("system", "No spam."), ("user", "Buy!")]
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["rule"] == {"enum": ["spam", "none"]}


def test_a_verdict_that_was_cut_off_is_none() -> None:
    with pytest.raises(CookbookError, match="no verdict"):
        verdict(client('{"violation": tr', "length"), "m", "No spam.", ["spam"], "Buy!")


def test_the_filter_has_a_command_without_a_chat_and_no_cache() -> None:
    words = policy.filter_command().argv
    assert words[:3] == ["vllm", "serve", "openai/privacy-filter"] and "pooling" in words
    assert not any("tool" in word for word in words) and "127.0.0.1" in words
    model = load_model("privacy-filter")
    assert model.runner == "pooling" and model.kv_bytes_per_token == 0
    geometry = model.geometry
    experts = geometry.layers * geometry.experts * 3 * geometry.hidden_size * geometry.intermediate_size
    assert experts < model.weights.parameters < experts * 1.2 and model.weights.bytes == 2 * model.weights.parameters
