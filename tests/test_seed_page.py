"""The page on the guide of August 2025: complete, in step with its data, its commands true."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from helpers.recipes import RecipeError
from maintain.seed import PAGE, Seed, load_seed, page

FRAGMENTS = yaml.safe_load((Path(__file__).parent / "fixtures" / "seed_fragments.yaml").read_text())


def missing(seed: Seed) -> list[str]:
    """What the guide says and no entry of that chapter quotes; a command counts once for each time it stands there."""
    said = {section.title: [" ".join(entry.seed.split()) for entry in section.entries] for section in seed.sections}
    return [
        f"{title}: {fragment}"
        for title, chapter in FRAGMENTS.items()
        for fragment in chapter["code"] + chapter["prose"]
        if not any(" ".join(fragment.split()) in entry for entry in said.get(title, []))
    ]


def test_every_line_of_the_guide_has_an_entry():
    assert missing(load_seed()) == []
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
    seed = load_seed()
    for section in seed.sections:
        for entry in section.entries:
            rest = [one for one in section.entries if one is not entry]
            others = [
                part if part is not section else section.model_copy(update={"entries": rest}) for part in seed.sections
            ]
            noticed = bool(missing(seed.model_copy(update={"sections": others})))
            assert noticed or entry.seed in PARTS, entry.seed


def test_the_page_is_in_step_with_its_data():
    assert PAGE.read_text() == page(load_seed())


def test_a_faulty_entry_is_named(tmp_path):
    path = tmp_path / "seed.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "checked_with": "0.32.0",
                "sections": [
                    {"title": "One", "entries": [{"seed": "--flag", "kind": "flagg", "became": "gone", "since": "now"}]}
                ],
            }
        )
    )
    with pytest.raises(RecipeError) as raised:
        load_seed(path)
    assert "sections.0.entries.0.kind" in str(raised.value) and "sections.0.entries.0.now: missing" in str(raised.value)


def test_the_cookbooks_commands_on_the_page_render():
    from typer.testing import CliRunner

    from helpers.cli import application

    words = {match for entry in load_seed().entries() for match in re.findall(r"`(cookbook command [^`]*)`", entry.now)}
    commands = [text for text in words if "TARGET" not in text]
    assert len(commands) >= 6
    for text in commands:
        result = CliRunner().invoke(application(), shlex.split(text)[1:])
        assert result.exit_code == 0 and "serve openai/gpt-oss" in result.output, text


def test_commands_with_a_verdict_are_the_guides_own():
    """What is put before the parser is what the entry quotes, not something near it."""
    for entry in load_seed().entries():
        if entry.parse and entry.kind == "command" and "..." not in entry.seed:
            quoted = shlex.split(re.sub(r" \(.*\)$", "", entry.seed))
            assert quoted == ["vllm", *entry.parse.argv], entry.seed
        if entry.parse and entry.kind == "variable":
            name, value = entry.seed.split("=")
            assert entry.parse.env == {name: value}
