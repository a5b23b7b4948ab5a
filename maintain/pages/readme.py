"""The generated parts of README.md and docs/install.md: whatever is a number comes from a record."""

import json
import re
from pathlib import Path

from helpers.pages.markdown import row, table
from helpers.paths import ROOT, shown
from helpers.plots.recorded import Recorded
from helpers.recipes import check_parameters, load_target
from helpers.records.curves import speed_records
from helpers.records.record import RunRecord
from maintain.pages import sections
from maintain.pages.matrix import targets_table
from maintain.pages.measured import newest_passed
from maintain.studies.recorded import models_compared

README = ROOT / "README.md"
INSTALL = ROOT / "docs" / "install.md"
FIGURE = ROOT / "docs" / "img" / "throughput.png"
DRAWN = "h200"  # the machine that most records speak of
QUICKSTART = "h100"
BENCHMARKS = ROOT / "benchmarks" / "records"
FIRST_CELL = "first cell"
# What benchmarks/flow.py measures, by the name that its record gives it, and what the table calls it.
FLOW = {
    "make_run_fresh_s": "`make run` in a fresh clone, downloads included",
    "make_run_warm_s": "`make run`, everything installed",
    "make_quick_s": "`make quick`, static checks included",
    "make_test_s": "`make test`, everything installed, pytest's own seconds",
    "make_test_fresh_s": "`make test` in a fresh clone, installs included",
    "make_test_all_s": "`make test-all`, everything installed, pytest's own seconds",
    "overhead_percent": "papermill and checks, over bare `vllm serve`, the same requests and the same sweep",
}


def numbers(record: RunRecord, path: str, benchmarks: Path = BENCHMARKS) -> str:
    """The CPU run's own figures, and what the commands cost around it, as a table.

    The run's come from its record. The others come from `benchmarks/records/notebook_cost.json` and `flow.json`
    (both `benchmarks.result.Result` as JSON: `values` is a list of `name`, `value`, `unit`, `bar`; the names that
    `flow.json` may hold are the keys of `FLOW`, each optional). What has no value there is "not measured".
    """
    seconds = (record.finished - record.started).total_seconds()
    top = max(record.throughput, key=lambda point: point.output_tok_s)
    found = {name: read(benchmarks / f"{name}.json") for name in ("notebook_cost", "flow")}
    cost, flow = map(values_of, found.values())
    rows = [
        ("machine", f"{record.machine.cores} cores of {record.machine.cpu}, {record.machine.memory_gib:.0f} GiB"),
        ("the whole notebook, stack installed", f"{seconds:.0f} s"),
        ("of it vLLM's start-up", f"{record.startup_s['total']:.0f} s"),
        ("contracts passed", contracts_passed(record)),
        ("peak memory of everything together", f"{record.memory['peak_gib']:.1f} GiB"),
        (
            "throughput of gpt-oss-nano (says nothing about gpt-oss)",
            f"{top.output_tok_s:.0f} output tok/s at concurrency {top.concurrency}",
        ),
        (f"imports of a notebook's {FIRST_CELL}", measured(cost.get(FIRST_CELL + "'s imports"))),
        *((said, measured(flow.get(name))) for name, said in FLOW.items()),
    ]
    caption = f"Measured on {record.finished:%Y-%m-%d} with vLLM {record.versions['vllm']}, from `{path}`"
    cpu = record.machine.cpu
    others = [f"`{shown(benchmarks / f'{name}.json')}`{elsewhere(was, cpu)}" for name, was in found.items() if was]
    beside = f"; the rows below the throughput from {' and '.join(others)}" if others else ""
    return f"{caption}{beside}:\n\n" + table(["", ""], [row(*cells) for cells in rows])


def contracts_passed(record: RunRecord) -> str:
    """How many contracts of those that were checked, and which were not."""
    checked = [contract for contract in record.contracts if contract.state != "skipped"]
    skipped = [contract.name for contract in record.contracts if contract.state == "skipped"]
    held = f"{sum(contract.state == 'passed' for contract in checked)} of {len(checked)}"
    return held + (f" (skipped: {', '.join(skipped)})" if skipped else "")


def read(path: Path) -> dict:
    """A benchmark's record; empty where it was never taken."""
    return json.loads(path.read_text()) if path.exists() else {}


def elsewhere(benchmark: dict, cpu: str) -> str:
    """The machine of a benchmark's record, where it is not the one of the run above it."""
    own = benchmark["machine"]["cpu"]
    return "" if own == cpu else f" (on {own})"


def values_of(benchmark: dict) -> dict[str, dict]:
    """The values of a benchmark's record by name."""
    return {value["name"]: value for value in benchmark.get("values", [])}


def measured(value: dict | None) -> str:
    """A value as the table shows it, with the bar it is held to and whether it reached it."""
    if value is None:
        return "not measured"
    bar = value.get("bar")
    verdict = (
        "" if bar is None else f" (bar {spelt(bar, value['unit'])}{'' if value['value'] <= bar else ', **missed**'})"
    )
    return spelt(value["value"], value["unit"]) + verdict


def spelt(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def with_block(text: str, name: str, content: str) -> str:
    """The text with the block between `<!-- begin:NAME -->` and `<!-- end:NAME -->` replaced."""
    pattern = re.compile(rf"(<!-- begin:{name} -->\n).*?(<!-- end:{name} -->)", re.S)
    if not pattern.search(text):
        raise ValueError(f"the page has no block {name}")
    return pattern.sub(lambda match: match.group(1) + content + "\n" + match.group(2), text)


def figure() -> Recorded:
    """The figure of the README."""
    return models_compared(DRAWN)


def figure_block() -> str:
    """The figure with its numbers as alternative text; `overview` draws it anew when they change. Empty without records."""
    if not speed_records(DRAWN):
        return ""
    text = figure().alt.replace("[", "(").replace("]", ")")
    return f"![{text}]({FIGURE.relative_to(ROOT)})"


def quickstart() -> str:
    """The command of a GPU recipe for a terminal and for docker."""
    target = load_target(QUICKSTART)
    parameters = check_parameters(target)
    forms = [sections.command(target, parameters, form) for form in ("shell", "docker")]
    interval = sections.interval(target, parameters.profile)
    shell, docker = (f"```bash\n{text}\n```" for text in forms)
    return (
        f"Or take the command alone: this is {parameters.model} on one {target.title}. `.venv/bin/cookbook command` prints it "
        f"for the other machines, `pip install vllm=={target.stack.vllm}` gives you `vllm`. {interval}\n\n{shell}\n\n"
        f"<details><summary>The same in docker</summary>\n\n{docker}\n\n</details>"
    )


def rendered() -> str:
    """The README as it should be."""
    text = README.read_text()
    for name, content in (("figure", figure_block()), ("quickstart", quickstart()), ("matrix", targets_table())):
        text = with_block(text, name, content)
    return text


def install_page() -> str:
    """docs/install.md as it should be."""
    text, found = INSTALL.read_text(), newest_passed("cpu")
    return with_block(text, "numbers", numbers(found[1], shown(found[0]))) if found else text
