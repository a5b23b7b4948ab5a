"""Another release: what moves in the recipes, what is compared, what the page says (`docs/upgrades` holds real ones)."""

import subprocess
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.cli import application
from helpers.errors import UsageError
from helpers.recipes import load_target, target_names
from helpers.records.age import minor
from maintain.limits.asked import Probed
from maintain.parser import Fault, ParserReport
from maintain.upgrade import trial as upgrades
from maintain.upgrade.flags import changes, declarations, plain
from maintain.upgrade.report import Upgrade, page
from maintain.upgrade.trial import REPORTS, copied, differences, inside, move_pins, moved, pin_of

ENVS = "environment_variables = {{'VLLM_X': lambda: int(os.getenv('VLLM_X', '{default}'))}}\n"
ARGUMENTS = "class EngineArgs:\n    max_num_seqs: int = SchedulerConfig.max_num_seqs\n    gone: bool = False\n"
CONFIG = "class SchedulerConfig:\n    max_num_seqs: int = {default}\n"


def sources(folder: Path, default: int, arguments: str = ARGUMENTS) -> Path:
    for name, content in {
        "vllm/engine/arg_utils.py": arguments,
        "vllm/config/scheduler.py": CONFIG.format(default=default),
        "vllm/envs.py": ENVS.format(default=default),
        "vllm/entrypoints/cli_args.py": "class FrontendArgs:\n    host: str | None = None\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_a_flag_in_use_that_changed_is_named_with_both_declarations(tmp_path: Path) -> None:
    old, new = sources(tmp_path / "old", 1), sources(tmp_path / "new", 2, ARGUMENTS.replace("gone", "came"))
    used = {"--max-num-seqs", "--no-gone", "--host", "VLLM_X"}
    found = {change.name: (change.before, change.after) for change in changes(used, old, new)}
    assert found["--max-num-seqs"] == ("int = 1", "int = 2"), "the default stands in the configuration's class"
    assert found["--no-gone"] == ("bool = False", "") and "'1'" in found["VLLM_X"][0] and "'2'" in found["VLLM_X"][1]
    assert "--host" not in found and changes(used, old, old) == []
    assert set(declarations(new)) - set(declarations(old)) == {"came"} and plain("--max-num-seqs") == "max_num_seqs"


def test_every_recipe_pins_in_the_one_place_that_an_upgrade_moves() -> None:
    for name in target_names():
        target, path = load_target(name), Path(f"recipes/targets/{name}.yaml")
        recipe = (upgrades.paths.ROOT / path).read_text()
        after = moved(recipe, target.stack.vllm, "9.9.9")
        assert "\n  vllm: 9.9.9\n" in after and f"\nchecked: flags parsed by vLLM {target.stack.vllm}" not in after, (
            path
        )
        tagged = f":v{target.stack.vllm}" in target.stack.image
        assert (":v9.9.9\n" in after) == tagged and after.count("9.9.9") == 2 + tagged, "sources stay what was read"


def test_the_locks_pins_are_compared(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("# x\na==1 \\\n    --hash=sha256:0\nb==2 ; sys_platform == 'linux'\n")
    (tmp_path / "b").write_text("a==1\nb==3\nc==4\n")
    assert differences(tmp_path / "a", tmp_path / "b") == [("b", "2", "3"), ("c", "", "4")]


def found(**changes: object) -> Upgrade:
    fault = Fault("recipes/common.yaml: args.x", "--x", "unknown", ("h200/gpt-oss-20b",))
    report = ParserReport("0.33.0", 9, [fault], [], ["a value"], "cpu")
    probes = [Probed("cpu", "one", "0.33.0", "goes on", "it went on")]
    base = {"parsed": report, "probes": probes, "unprobed": ["cpu: two"], "lock": [("a", "1", "2")], "used": 31}
    return Upgrade("cuda", "0.32.0", "0.33.0", date(2026, 11, 27), **{**base, **changes})


def test_the_page_names_faults_needless_limits_and_what_was_not_looked_at() -> None:
    told, clean = page(found()), ParserReport("0.33.0", 9, [], [], [], "cpu")
    for said in (
        "**1 faults**",
        "recipes/common.yaml: args.x: --x: unknown",
        "no longer needed",
        "`two` has no probe: only its hardware can tell (cpu)",
        "a value",
    ):
        assert said in told, said
    assert "| a | 1 | 2 |" in told and "nothing was served" in told and not found().passed
    assert (
        found(parsed=clean).passed
        and not found(parsed=clean, lane="failed: x").passed
        and not found(parsed=None).passed
    )


def test_the_copy_is_moved_and_the_checkout_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, before = copied(tmp_path / "copy"), pin_of("cuda")
    move_pins(copy, Upgrade("cuda", before, "9.9.9", date(2026, 11, 27)), print)
    assert "  vllm: 9.9.9\n" in (copy / "recipes/targets/h200.yaml").read_text()
    assert f"  vllm: {load_target('cpu').stack.vllm}\n" in (copy / "recipes/targets/cpu.yaml").read_text()
    assert pin_of("cuda") == before == load_target("h200").stack.vllm


def test_a_step_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.CompletedProcess([], 1, "", "first\nno such release\n")
    monkeypatch.setattr(upgrades, "child", lambda *words, **more: ended)
    with pytest.raises(upgrades.CookbookError, match=r"the lock failed .* because no such release"):
        inside(tmp_path, ["x"], "the lock")
    assert "no such release" in inside(tmp_path, ["x"], "the lane", fails=False)
    with pytest.raises(UsageError, match="use cpu or cuda"):
        upgrades.upgrade("rocm", "0.33.0")


def test_a_stack_at_the_newest_release_is_left_alone() -> None:
    if minor(pin_of("cpu")) == minor(upgrades.newest("cpu")):
        done = CliRunner().invoke(application(), ["upgrade", "--vllm", "newest", "--stack", "cpu"])
        assert done.exit_code == 0 and "is the newest release" in done.output


def test_the_reports_of_real_upgrades_are_kept() -> None:
    """Stacks were upgraded for real: each page says what was found."""
    pages = {page.name.partition("-")[0]: page.read_text() for page in REPORTS.glob("*.md")}
    assert set(pages) <= set(upgrades.STACKS)
    assert all("commands of every recipe, all taken" in page and "## Not looked at" in page for page in pages.values())
