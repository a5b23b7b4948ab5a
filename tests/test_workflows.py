"""The lanes: thin, pinned, without secrets for a stranger's code. `make quick` puts them before actionlint and zizmor besides."""

import re
from pathlib import Path

import pytest
import yaml

from helpers.paths import ROOT

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):.*##", MAKE, re.M))


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def steps(path: Path) -> list[dict]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_lane_only_calls_make_and_pins_its_actions(path: Path) -> None:
    for step in steps(path):
        if "run" in step:
            words = step["run"].split()
            names = load(path)["jobs"]["lane"]["strategy"]["matrix"]["lane"] if words[1] == '"$LANE"' else words[1:]
            assert words[0] == "make" and set(names) <= TARGETS, step
        else:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"]), step
    assert "${{" not in "".join(step.get("run", "") for step in steps(path)), (
        "a value reaches a shell as a variable only"
    )
    pinned = re.findall(r"uses: (\S+) +(# v\d+\.\d+\.\d+)?", path.read_text())
    assert pinned and all(comment for _, comment in pinned), "the comment names the release behind a hash"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_lane_may_no_more_than_it_needs(path: Path) -> None:
    flow, text = load(path), path.read_text()
    events = flow[True]  # YAML reads the key `on` as true
    assert "secrets." not in text and "pull_request_target" not in text
    assert flow["permissions"] in ({}, {"contents": "read"})
    writing = [name for name, job in flow["jobs"].items() if "write" in job.get("permissions", {}).values()]
    assert writing == (["propose"] if path.stem == "gpu" else [])
    if path.stem == "gpu":
        assert set(events) == {"workflow_dispatch"}, "whoever starts it may write already"
        assert flow["jobs"]["measure"]["permissions"] == {"contents": "read"} and "GH_TOKEN" not in str(
            flow["jobs"]["measure"]
        )
    assert all(0 < job["timeout-minutes"] <= 240 for job in flow["jobs"].values())


def test_one_version_everywhere() -> None:
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert project and yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == project.group(1)


def test_hooks_and_lanes_use_the_workbenchs_tools() -> None:
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    entries = " ".join(hook["entry"] for hook in hooks)
    for tool in ("ruff", "nbstripout", "codespell", "check-jsonschema", "cookbook render --check"):
        assert f".venv/bin/{tool}" in entries, tool
    assert all(hook["language"] == "system" for hook in hooks), "nothing is fetched at a commit"
    quick = next(line for line in MAKE.splitlines() if line.startswith("quick:"))
    assert "workflows" in quick and "actionlint" in MAKE and "zizmor" in MAKE


def test_who_reports_is_asked_for_the_doctors_report() -> None:
    for name in ("ISSUE_TEMPLATE/failure.yml", "ISSUE_TEMPLATE/target.yml", "pull_request_template.md"):
        assert "cookbook doctor --report" in (ROOT / ".github" / name).read_text()


def test_a_missing_machine_is_asked_for_what_shows_it_without_a_run() -> None:
    """The doctor needs a log, which a machine without a recipe has not: the preflight is asked for first."""
    form = (ROOT / ".github/ISSUE_TEMPLATE/target.yml").read_text()
    assert 0 < form.find("cookbook preflight TARGET") < form.find("cookbook doctor --report")


def test_the_strangers_transcript_is_of_the_readmes_commands() -> None:
    """`make newcomer` writes it; docs/newcomer.txt is the last one."""
    said = (ROOT / "docs/newcomer.txt").read_text()
    first = (ROOT / "README.md").read_text().partition("## Try it")[2].partition("\n## ")[0]
    commands = [words for words in re.findall(r"^    (make [a-z-]*)", first, re.M) if words != "make lab"]
    assert re.findall(r"^\$ (.*)", said, re.M) == commands and said.count("[exit 0, ") == len(commands) == 1
    assert "  passed\n" in said and "missing" not in said and "://" not in said
