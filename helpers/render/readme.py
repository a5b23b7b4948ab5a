"""The generated parts of the README: whatever is a number comes from a record."""

import re

from helpers.bench.record import RunRecord
from helpers.paths import ROOT, shown
from helpers.render.claims import newest_passed
from helpers.render.matrix import matrix_table

README = ROOT / "README.md"


def numbers(record: RunRecord, path: str) -> str:
    """The CPU run's own figures as a table."""
    seconds = (record.finished - record.started).total_seconds()
    top = max(record.throughput, key=lambda point: point.output_tok_s)
    passed = sum(contract.state == "passed" for contract in record.contracts)
    rows = [
        (
            "machine",
            f"{record.machine.cores} cores of {record.machine.cpu}, {record.machine.memory_gib:.0f} GiB",
        ),
        ("the whole notebook, stack installed", f"{seconds:.0f} s"),
        ("of it vLLM's start-up", f"{record.startup_s['total']:.0f} s"),
        ("contracts passed", f"{passed} of {len(record.contracts)}"),
        ("peak memory of everything together", f"{record.memory['peak_gib']:.1f} GiB"),
        (
            "throughput of gpt-oss-nano (says nothing about gpt-oss)",
            f"{top.output_tok_s:.0f} output tok/s at concurrency {top.concurrency}",
        ),
    ]
    lines = [f"| {what} | {value} |" for what, value in rows]
    caption = f"Measured on {record.finished:%Y-%m-%d} with vLLM {record.versions['vllm']}, from `{path}`:"
    return "\n".join([caption, "", "| | |", "|---|---|", *lines])


def with_block(text: str, name: str, content: str) -> str:
    """The text with the block between `<!-- begin:NAME -->` and `<!-- end:NAME -->` replaced."""
    pattern = re.compile(rf"(<!-- begin:{name} -->\n).*?(<!-- end:{name} -->)", re.S)
    if not pattern.search(text):
        raise ValueError(f"the README has no block {name}")
    return pattern.sub(lambda match: match.group(1) + content + "\n" + match.group(2), text)


def rendered() -> str:
    """The README as it should be."""
    text = README.read_text()
    found = newest_passed("cpu")
    if found:
        path, record = found
        text = with_block(text, "numbers", numbers(record, shown(path)))
    return with_block(text, "matrix", matrix_table())
