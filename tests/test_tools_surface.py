"""The table of what vLLM supports of the Responses API: whole, in the order of the probes, and its faults told."""

import pytest

from helpers.errors import CookbookError
from helpers.recipes import load_target
from maintain.clients import responses_api
from maintain.clients.support import STATES, Row, Support, differences, load_support
from maintain.responses_support import write_support


def test_the_file_has_a_row_for_every_probe_and_the_pinned_vllm():
    found = load_support()
    assert found.vllm.split("+")[0] == str(load_target("cpu").stack.vllm), "write the table anew for this vLLM"
    assert [row.feature for row in found.rows] == list(responses_api.PROBES)
    assert {row.state for row in found.rows} <= set(STATES) and len(found.rows) >= 20
    assert found.markdown()[2].startswith(f"| {found.rows[0].feature} | {found.rows[0].state} |")


def test_a_changed_row_a_missing_one_and_a_new_one_are_told(tmp_path):
    path = tmp_path / "support.yaml"
    rows = [Row("a", "supported", "yes"), Row("b", "ignored", "no"), Row("c", "refused", "status 400")]
    write_support(Support("0.32.0", "gpt-oss-nano", rows), path)
    assert load_support(path) == Support("0.32.0", "gpt-oss-nano", rows) and differences(rows, path) == []
    changed = [Row("a", "partly", "half"), rows[1], Row("d", "refused", "status 404")]
    assert differences(changed, path) == [
        "a: partly (half), in the file supported (yes)",
        "c: not asked",
        "d: not in the file",
    ]


MAYBE = "vllm: x\nmodel: y\nrows:\n- {feature: a, state: maybe, seen: b}"


@pytest.mark.parametrize("text", ["", "rows: 3", MAYBE, "rows: [{feature: a}]", "{"])
def test_a_file_that_is_no_table_is_one_line(tmp_path, text):
    path = tmp_path / "support.yaml"
    path.write_text(text)
    with pytest.raises(CookbookError, match="is no table of support"):
        load_support(path)
