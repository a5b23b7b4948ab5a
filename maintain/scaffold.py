"""Recipe, notebook and test of a new target, copied from the one it is like and marked where it must be filled in."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from helpers import paths
from helpers.errors import UsageError
from helpers.files import write_whole
from helpers.recipes import load_target, target_names

NAME = re.compile(r"^[a-z][a-z0-9_]{1,30}$")
TODO = "TODO"  # what the test of a scaffold looks for
TEST = '''"""The target {name}: what is special about it. The tests of all targets cover schema, memory, forms and flags."""

from helpers.recipes import load_target


def test_{name}_is_filled_in():
    """Nothing of the scaffold is left in the recipe."""
    target = load_target("{name}")
    text = target.model_dump_json()
    assert "TODO" not in text, "replace every TODO of recipes/targets/{name}.yaml"
    assert target.match != load_target("{like}").match, "say how to recognise {name}"
'''


@dataclass(frozen=True)
class Scaffold:
    """The files of a target."""

    name: str

    @property
    def recipe(self) -> Path:
        return paths.TARGETS / f"{self.name}.yaml"

    @property
    def notebook(self) -> Path:
        return paths.NOTEBOOKS / "targets" / f"{self.name}.ipynb"

    @property
    def test(self) -> Path:
        return paths.ROOT / "tests" / "targets" / f"test_{self.name}.py"

    def files(self) -> list[Path]:
        """Recipe, notebook and test."""
        return [self.recipe, self.notebook, self.test]


def new_target(name: str, like: str) -> list[Path]:
    """Write the three files; raises `UsageError` when the name is taken or is no name, and then writes nothing."""
    if not NAME.match(name):
        raise UsageError(f"{name!r} is no name for a target", do="use small letters, digits and _, e.g. rtx4070")
    scaffold = Scaffold(name)
    taken = [paths.shown(path) for path in scaffold.files() if path.exists()]
    if name in target_names() or taken:
        raise UsageError(f"the target {name} exists", why=", ".join(taken), do="choose another name")
    load_target(like)  # an unknown one is a clear line
    text = (paths.TARGETS / f"{like}.yaml").read_text(encoding="utf-8")
    write_whole(scaffold.recipe, recipe_text(text, name, like))
    write_whole(scaffold.test, TEST.format(name=name, like=like))
    from maintain.pages.notebook import render, write

    write(render(name), scaffold.notebook)
    return scaffold.files()


def recipe_text(text: str, name: str, like: str) -> str:
    """The recipe of `like` under the new name, with what must be looked up marked."""
    text = re.sub(r"^target: .*$", f"target: {name}", text, count=1, flags=re.M)
    text = re.sub(r"^title: .*$", f"title: {TODO} the vendor's name of {name}", text, count=1, flags=re.M)
    checked = f"checked: {TODO} what its flags were checked against (this recipe was copied from {like})"
    text = re.sub(r"^checked: .*\n(?:  .*\n)*", checked + "\n", text, count=1, flags=re.M)
    text = text.replace(f"cookbook eval {like} ", f"cookbook eval {name} ")
    # what was measured on the other one, or stands on its data sheet, is said of this one only once somebody has looked
    text = re.sub(r"\bthis target's (?=(?:tuning )?records|evidence)", f"{TODO} in place of {like}'s ", text)
    return re.sub(
        r"^(  source: '?)(?=.*(?:data sheet|run on ))", rf"\g<1>{TODO} in place of {like}, ", text, flags=re.M
    )


def remove_target(name: str) -> list[Path]:
    """Take the three files away again, and the rows of the pages that list every target; a target that has records is kept.

    Returns what was removed or changed.
    """
    scaffold = Scaffold(name)
    if name not in target_names():
        raise UsageError(f"there is no target {name}")
    if any((paths.RECORDS / name).glob("*.json")):
        raise UsageError(f"the target {name} has records", do="remove recipes/records first if you mean it")
    gone = [path for path in scaffold.files() if path.exists()]
    for path in gone:
        path.unlink()
    from maintain.pages.overview import refresh

    gone += refresh()
    tests = scaffold.test.parent
    if tests.is_dir() and all(path.name == "__pycache__" for path in tests.iterdir()):
        shutil.rmtree(tests)
    return gone
