"""docs/seed.md as data: the rows of its tables, and what each quotes as words for `vllm` and variables."""

import re
import shlex
from dataclasses import dataclass

from helpers.paths import ROOT

PAGE = ROOT / "docs" / "seed.md"
VERDICT = re.compile(r" \*\*\((taken|refused) by the parser of ([\d.]+)\)\*\*$")
MODEL = "openai/gpt-oss-20b"


@dataclass(frozen=True)
class Row:
    """One line of the guide, and what became of it."""

    chapter: str
    quoted: str  # from the guide
    became: str
    now: str
    taken: bool | None  # by the parser of `version`; None: not asked
    version: str = ""

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The words after `vllm` and the variables that the guide's line stands for."""
        words = shlex.split(re.sub(r" \(.*\)$", "", self.quoted))
        if words[0] == "vllm":
            return [MODEL if word == "..." else word for word in words[1:]], {}
        if re.fullmatch(r"[A-Z0-9_]+=\d", self.quoted):
            return ["serve", MODEL], dict([self.quoted.split("=")])
        if words[0] == "--model":
            return ["serve", *words], {}
        if words[0].startswith("--"):
            return ["serve", MODEL, *words], {}
        return ["serve", MODEL, "--compilation-config", f'{{"{words[0]}": [1, 2, 4, 8]}}'], {}


def rows() -> list[Row]:
    """Every row of every table about the guide, in order."""
    found, chapter = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            chapter = line.removeprefix("## ")
        cells = [
            cell.replace("\\|", "|") for cell in re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |"))
        ]
        if line.startswith("| ") and len(cells) == 4 and cells[0] != "The guide":
            quoted, became, _, now = cells
            verdict = VERDICT.search(became)
            quoted = re.sub(r"^`([^`]*)`$", r"\1", quoted)
            taken, version = (verdict[1] == "taken", verdict[2]) if verdict else (None, "")
            found.append(Row(chapter, quoted, VERDICT.sub("", became), now, taken, version))
    return found
