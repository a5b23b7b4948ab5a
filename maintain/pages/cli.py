"""docs/cli.md: every command of `cookbook` with its arguments and options, as Typer describes them."""

import re

import typer
from typer.cli import get_docs_for_click

from helpers.cli import application
from helpers.paths import ROOT

PAGE = ROOT / "docs" / "cli.md"
ABOUT = "<!-- written by `cookbook render`; do not edit -->\n\n"


def fenced(match: re.Match[str]) -> str:
    """The examples of a command as one block."""
    return "```console\n" + re.sub(r"\n+", "\n", match[0]) + "```\n\n"


def rendered() -> str:
    """The page as it should be."""
    command = typer.main.get_command(application())
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="cookbook")
    groups = [command, *(one for one in command.commands.values() if hasattr(one, "commands"))]
    first = [(one.help or "").strip().partition("\n")[0] for group in groups for one in group.commands.values()]

    def whole(match: re.Match[str]) -> str:
        """A line that Typer cut off, with the whole first sentence."""
        return match[1] + next(sentence for sentence in first if sentence.startswith(match[2]))

    text = re.sub(r"^((?:(?:cookbook|docker) .*\n\n?)+)", fenced, text, flags=re.M)
    return ABOUT + re.sub(r"^(\* `[\w-]+`: )(.*)\.\.\.$", whole, text, flags=re.M).rstrip() + "\n"
