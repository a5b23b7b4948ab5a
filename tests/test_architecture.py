"""docs/architecture.md against the code: its table of rooms, its picture, and every file and name that it sends a reader to.

`.venv/bin/python tests/test_architecture.py` writes the table and the picture anew.
"""

import re
from collections import defaultdict

from test_layers import arrows, modules

from helpers.layers import ORDER, ROOMS, room_of
from helpers.paths import ROOT

PAGE = ROOT / "docs" / "architecture.md"
GROUND = ORDER["helpers.recipes"]  # the rooms before it serve all others


def table() -> str:
    """The rooms in their order."""
    return "\n".join(
        ["| room | what it is for |", "|---|---|", *(f"| `{name}` | {purpose} |" for name, purpose in ROOMS)]
    )


def needs() -> dict[str, set[str]]:
    """The rooms that each room imports, without the ground."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for name, imported in arrows().items():
        others = {room_of(other) for other in imported if other in modules()} - {room_of(name), ""}
        rooms[room_of(name)] |= {other for other in others if ORDER[other] >= GROUND}
    return rooms


def picture() -> str:
    """The rooms' imports as a mermaid graph, without the arrows that follow from others."""
    rooms, below = needs(), {}
    for name in ORDER:
        below[name] = rooms[name].union(
            *(below.get(other, set()) for other in rooms[name])
        )  # test_layers names a cycle
    lines = ["```mermaid", "graph TD"]
    for name in [name for name in ORDER if rooms[name]]:
        direct = {other for other in rooms[name] if not any(other in below[via] for via in rooms[name])}
        lines += [f"    {name} --> {other}" for other in sorted(direct, key=ORDER.get)]
    return "\n".join([*lines, "```"])


def between(text: str, mark: str) -> str:
    """What stands between a mark and its end."""
    return text.partition(f"<!-- {mark} -->\n")[2].partition(f"\n<!-- /{mark} -->")[0]


def missing(text: str) -> list[str]:
    """The files that a text names and the checkout does not hold, and the names that a row's file does not hold."""
    named = set(re.findall(r"`((?:helpers|recipes|tests|nano|docs|benchmarks|hunt)/[\w/.-]+)`", text))
    gone = [name for name in sorted(named) if not (ROOT / name).exists()]
    rows = re.findall(r"\| `([\w/.-]+)` \| `(\w+)` \|$", text, re.MULTILINE)
    return gone + [
        f"{file}: {name}" for file, name in rows if file not in gone and name not in (ROOT / file).read_text()
    ]


def test_the_page_lists_the_rooms_and_draws_their_imports() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert between(text, "rooms") == table()
    assert between(text, "picture") == picture()


def test_every_file_and_name_of_the_page_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("| `helpers/") >= 8 and missing(text) == []


def test_a_moved_file_or_name_is_found() -> None:
    assert missing("see `helpers/gone.py`") == ["helpers/gone.py"]
    assert missing("| x | `helpers/layers.py` | `no_such_name` |") == ["helpers/layers.py: no_such_name"]


if __name__ == "__main__":
    written = PAGE.read_text(encoding="utf-8")
    for mark, content in (("rooms", table()), ("picture", picture())):
        head, _, rest = written.partition(f"<!-- {mark} -->\n")
        written = f"{head}<!-- {mark} -->\n{content}\n<!-- /{mark} -->" + rest.partition(f"<!-- /{mark} -->")[2]
    PAGE.write_text(written, encoding="utf-8")
