"""The tables that are made by asking: whole, and what the server does now; and the page that shows them."""

import pytest

from helpers.recipes import load_target
from maintain.clients import page, structured, turns
from maintain.clients.responses_api import Surface
from maintain.clients.support import differences, load_support


def asked(modes: tuple[str, ...], note: str = "") -> list[str]:
    """The features of some modes on both endpoints."""
    return [f"{api.name}, {mode}{note}" for api in (structured.Chat, structured.Responses) for mode in modes]


def test_the_tables_have_every_row_of_the_pinned_vllm() -> None:
    speculated = asked(structured.SPECULATED, ", n-gram") + asked((f"{structured.AT_ONCE} at once",), ", n-gram")
    schemas = asked(tuple(structured.MODES)) + speculated
    for path, features in ((structured.FILE, schemas), (turns.FILE, list(turns.PROBES))):
        found = load_support(path)
        assert [row.feature for row in found.rows] == features
        assert found.vllm.split("+")[0] == str(load_target("cpu").stack.vllm), "write the table anew for this vLLM"
        assert all(row.state == "supported" or ";" in row.seen for row in found.rows), "a way around for each other row"


def test_the_page_is_what_its_data_say() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "run `python -m maintain.clients.page`"


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        (('{"name": "Anna", "age": 34}', []), True),
        (('{"name": "Anna", "age": "34"}', []), False),
        (('{"name": "Anna"}', []), False),
        (('{"name": "Anna", "age": 34}', ["get_weather"]), False),
        (("Anna is 34", []), False),
        (("[]", []), False),
    ],
)
def test_an_answer_that_does_not_fit_is_seen(reply: tuple[str, list[str]], right: bool) -> None:
    assert structured.fits(reply) == right


def test_a_call_of_nothing_that_was_offered_is_no_call() -> None:
    assert structured.called(("", ["get_weather"]))
    assert not any(structured.called(("", names)) for names in (["json"], [], ["get_weather"] * 2))


@pytest.mark.full
def test_schemas_and_conversations_are_what_the_tables_say(session) -> None:
    surface = Surface(session.server.base_url, session.server.model)
    found = differences(structured.rows(surface, list(structured.MODES)), structured.FILE)
    assert [line for line in found if ", n-gram" not in line] == [], "those need a server that speculates"
    assert differences(turns.rows(surface), turns.FILE) == []
