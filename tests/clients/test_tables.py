"""The tables that are made by asking: whole, and what the server does now."""

import pytest

from helpers.checks.responses_api import Surface
from helpers.recipes import load_target
from helpers.recipes.responses import differences, load_support
from maintain.clients import turns


def test_the_table_of_conversations_has_every_row_of_the_pinned_vllm() -> None:
    found = load_support(turns.FILE)
    assert [row.feature for row in found.rows] == list(turns.PROBES)
    assert found.vllm.split("+")[0] == str(load_target("cpu").stack.vllm), "write the table anew for this vLLM"
    assert all(row.state == "supported" or ";" in row.seen for row in found.rows), "a way around for each other row"


@pytest.mark.full
def test_conversations_are_what_the_table_says(session) -> None:
    assert differences(turns.rows(Surface(session.server.base_url, session.server.model)), turns.FILE) == []
