"""The page on the guide of August 2025: complete, its counts and commands true, its table of the Responses API today's."""

import re
import shlex
from pathlib import Path

import yaml
from seed_page import PAGE, Row, rows

from maintain.clients.support import load_support

FRAGMENTS = yaml.safe_load((Path(__file__).parent / "fixtures" / "seed_fragments.yaml").read_text())


def missing(found: list[Row]) -> list[str]:
    """What the guide says and no row of that chapter quotes; a command counts once for each time it stands there."""
    said: dict[str, list[str]] = {}
    for row in found:
        said.setdefault(row.chapter, []).append(row.quoted)
    return [
        f"{chapter}: {fragment}"
        for chapter, parts in FRAGMENTS.items()
        for fragment in parts["code"] + parts["prose"]
        if not any(" ".join(fragment.split()) in quoted for quoted in said.get(chapter, []))
    ]


def test_every_line_of_the_guide_has_an_entry():
    assert missing(rows()) == []
    assert sum(len(chapter["code"]) for chapter in FRAGMENTS.values()) > 60


# Entries about a part of a command that the guide has whole as well: another entry quotes it too.
PARTS = {
    "vllm/vllm-openai:gptoss",
    "--model openai/gpt-oss-20b",
    "--async-scheduling",
    "compile_sizes",
    "--block-size 64",
    "rocm/vllm-dev:open-mi300-08052025",
}


def test_an_entry_that_is_left_out_is_noticed():
    """Whichever it is: each entry answers for something that the guide says."""
    found = rows()
    for row in found:
        assert missing([one for one in found if one is not row]) or row.quoted in PARTS, row.quoted


def test_the_page_counts_its_own_rows():
    found, head = rows(), " ".join(PAGE.read_text(encoding="utf-8").split("## ")[0].split())
    asked = [row for row in found if row.taken is not None]
    taken = sum(row.taken for row in asked)
    assert f"Its {len(found)} instructions" in head
    assert f"{len(asked)} of them are put before the argument parser of vLLM {asked[0].version}" in head
    assert f"it takes {taken} and refuses {len(asked) - taken}." in head
    assert {row.version for row in asked} == {asked[0].version}


def test_the_responses_table_is_what_was_last_found():
    found = load_support()
    page = PAGE.read_text(encoding="utf-8")
    assert page.endswith("\n".join(found.markdown()) + "\n")
    assert f"(vLLM {found.vllm}, {found.model})" in page


def test_the_cookbooks_commands_on_the_page_render():
    from typer.testing import CliRunner

    from helpers.cli import application

    words = {match for row in rows() for match in re.findall(r"`(cookbook command [^`]*)`", row.now)}
    commands = [text for text in words if "TARGET" not in text]
    assert len(commands) >= 6
    for text in commands:
        result = CliRunner().invoke(application(), shlex.split(text)[1:])
        assert result.exit_code == 0 and "serve openai/gpt-oss" in result.output, text
