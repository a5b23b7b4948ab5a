"""`cookbook import`: a stranger's bundle, held against everything that the repository knows, and filed under its contributor.

Nothing of a bundle is run. What is filed is the record, and the page's own cells with those outputs that a browser only shows.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from pydantic import ValidationError

from helpers import redact
from helpers.bench.roofline import roofline
from helpers.bench.sweep import Load
from helpers.errors import CookbookError
from helpers.findings import Finding, Findings
from helpers.paths import NOTEBOOKS, RECORDS, shown
from helpers.recipes import load_model, load_target
from helpers.records.anchors import load_anchors, matching
from helpers.records.claims import same_flags
from helpers.records.curves import load_records
from helpers.records.record import Point, RunRecord, first_problem
from maintain.pages.notebook import source_of, write
from maintain.pages.publish import cleaned
from maintain.sharing import bundle

FOLDER = RECORDS / "contributed"  # <contributor>/<target>/: beside the claims, which are the project's own
MARKS = {"✓": "passed", "✗": "failed", "–": "skipped"}
CONTRACT = re.compile(r"^([a-z][\w.]+) +([✓✗–]) ", re.M)  # helpers.checks.contract.Contract.line
SLACK = (0.5, 1.5)  # how far below the lowest and above the highest known point a new one may lie
FIRST_DAY = datetime(2025, 8, 5, tzinfo=UTC)  # gpt-oss was published
HARMLESS = ("text/plain", "image/png")  # kinds of output that run nothing in a reader's browser


@dataclass(frozen=True, repr=False)
class Judgement(Findings):
    """What was found about a bundle."""

    contributor: str = ""
    target: str = ""

    @property
    def title(self) -> str:
        return f"a run on {self.target} by {self.contributor}"

    @property
    def refusal(self) -> str:
        return "the bundle is not filed"


def judged(file: Path) -> tuple[Judgement, RunRecord, NotebookNode, bundle.Manifest]:
    """Every check of a bundle. Raises `CookbookError` where it is no bundle, no record or no notebook."""
    manifest, texts = bundle.unpack(file)
    try:
        record = RunRecord.model_validate_json(texts[bundle.RECORD])
        notebook = nbformat.reads(texts[bundle.NOTEBOOK], as_version=4)
    except (ValidationError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise CookbookError(f"{file.name} holds no run", why=why, do="pack a run of the recipe anew") from None
    load_target(record.target)  # an unknown one is one clear line
    found = [
        Finding("record", True, f"schema {record.schema_}; its figures can come from one measurement"),
        outcome(record),
        when(record),
        command(record),
        machine(record),
        *physics(record),
        known(record),
        code(record, notebook),
        contracts(record, notebook),
        log(record, texts[bundle.LOG]),
        secrets(texts, notebook),
    ]
    return Judgement(found, manifest.contributor, record.target), record, notebook, manifest


def outcome(record: RunRecord) -> Finding:
    """The recipe itself ran, on its own machine, and passed."""
    odd = [f"it {record.state}: {record.why}"] if record.state != "passed" else []
    odd += ["a rehearsal on another machine"] if record.parameters.get("rehearse") else []
    odd += [f"a variant: {record.serving.variant}"] if record.serving.variant else []
    return Finding(
        "outcome", not odd, "; ".join(odd) or "passed", "a passed run of the recipe", "run the target as it is"
    )


def when(record: RunRecord) -> Finding:
    """Its time is neither before gpt-oss nor ahead of now."""
    possible = record.started >= FIRST_DAY and record.finished <= datetime.now(UTC) + timedelta(hours=1)
    seen = f"{record.started:%Y-%m-%d %H:%M} to {record.finished:%Y-%m-%d %H:%M}"
    return Finding(
        "time", possible, seen, f"after {FIRST_DAY:%Y-%m-%d} and not ahead of now", "set the machine's clock"
    )


def command(record: RunRecord) -> Finding:
    """The command is the one that the recipe renders for the record's parameters."""
    fix = "bring your checkout up to date and run the target again"
    return Finding("command", same_flags(record), "flags and variables", "those that the recipe renders", fix)


def machine(record: RunRecord) -> Finding:
    """The hardware is the target's, and enough of it."""
    match, served, gpus = load_target(record.target).match, record.serving, record.machine.gpus
    if match.vendor == "cpu":
        return Finding(
            "machine", not gpus, f"{record.machine.cores} cores of {record.machine.cpu}", "no GPU in the record"
        )
    count = served.tensor_parallel_size * served.replicas
    fits = len(gpus) >= count and all(re.search(match.name or ".", name, re.I) for name in gpus)
    return Finding("machine", fits, ", ".join(gpus) or "no GPU", f"{count} x {load_target(record.target).title}")


def physics(record: RunRecord) -> list[Finding]:
    """Nothing is faster than memory bandwidth and peak FLOP/s of the target allow, and the record says the same of it."""
    served, device = record.serving, load_target(record.target).device
    limit = roofline(load_model(record.model), device, served.tensor_parallel_size, served.replicas)
    findings = []
    for point in record.throughput:
        if point.output_tokens < 2:
            continue
        names = ("concurrency", "input_tokens", "output_tokens", "prompts")
        most = limit(Load(**{name: getattr(point, name) for name in names}))
        if most is None:
            return [Finding("roofline", None, "this machine's bandwidth is not in its recipe")]
        share = point.output_tok_s / most
        same = point.roofline_tok_s is None or abs(point.roofline_tok_s / most - 1) < 0.02
        seen = f"{share:.0%} at concurrency {point.concurrency}" + (
            "" if same else f", and it says {point.roofline_tok_s:,.0f}"
        )
        findings.append(
            Finding("roofline", share <= 1 and same, seen, f"at most {most:,.0f} output tok/s, as the recipe gives it")
        )
    return (
        [finding for finding in findings if not finding.ok]
        or findings[:1]
        or [Finding("roofline", None, "no throughput")]
    )


def known(record: RunRecord) -> Finding:
    """Each point lies near what is known of the same model, machine, split and load."""
    held, odd = 0, []
    for point in record.throughput:
        others = known_points(record, point)
        if others:
            held += 1
            low, high = min(others) * SLACK[0], max(others) * SLACK[1]
            if not low <= point.output_tok_s_per_gpu <= high:
                said = f"concurrency {point.concurrency}: {point.output_tok_s_per_gpu:,.0f} tok/s per GPU"
                odd.append(f"{said}, known points allow {low:,.0f} to {high:,.0f}")
    if not held:
        return Finding("known points", None, "none of this machine and load is known")
    fix = "tell in the pull request why it is so far from them"
    return Finding("known points", not odd, "; ".join(odd) or f"{held} points lie near them", "near what is known", fix)


def known_points(record: RunRecord, point: Point) -> list[float]:
    """Output tok/s per GPU of records and publications at the same model, machine, split and load."""
    served, host = record.serving, record.machine
    kind = lambda one: (one.gpus[:1], one.gpus or (one.cpu, one.cores))  # noqa: E731
    same = ("concurrency", "input_tokens", "output_tokens")
    found = [
        other.output_tok_s_per_gpu
        for ours in load_records(record.target)
        if ours.model == record.model and ours.serving.label == served.label and kind(ours.machine)[0] == kind(host)[0]
        if host.gpus or kind(ours.machine) == kind(host)
        for other in ours.throughput
        if all(getattr(other, name) == getattr(point, name) for name in same)
    ]
    anchors = matching(load_anchors(), record.model, record.target, point.input_tokens, point.output_tokens)
    split = (served.tensor_parallel_size, point.concurrency)
    return found + [a.output_tok_s_per_gpu for a in anchors if (a.tensor_parallel, a.concurrency) == split]


def code(record: RunRecord, notebook: NotebookNode) -> Finding:
    """The notebook is the target's page, cell by cell."""
    try:
        cleaned(nbformat.from_dict(dict(notebook)), source_of(record.target), {})
    except CookbookError:
        fix = "bring your checkout up to date and run the target again"
        return Finding("notebook", False, "other cells than the page's", "the present page, executed", fix)
    return Finding("notebook", True, "the present page, executed")


def contracts(record: RunRecord, notebook: NotebookNode) -> Finding:
    """The notebook printed one line for each contract of the record, with the same mark."""
    printed = {name: MARKS[mark] for text in printed_texts(notebook.cells) for name, mark in CONTRACT.findall(text)}
    recorded = {contract.name: contract.state for contract in record.contracts}
    differ = sorted(name for name in printed.keys() | recorded.keys() if printed.get(name) != recorded.get(name))
    count = sum(state == "passed" for state in recorded.values())
    seen = (
        f"{', '.join(differ)} differ"
        if differ
        else f"{count} passed, {len(recorded) - count} skipped, as the notebook prints"
    )
    return Finding("contracts", bool(recorded) and not differ, seen, "a line for each contract of the record")


def printed_texts(cells: Iterable[NotebookNode]) -> Iterable[str]:
    for cell in cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                yield "".join(output.text)


def log(record: RunRecord, text: str) -> Finding:
    """The server's log names the vLLM of the record."""
    version = record.release
    named = set(re.findall(r"\bversion (\d+\.\d+\.\d+)", text)) | set(re.findall(r"\(v(\d+\.\d+\.\d+)", text))
    return Finding(
        "log", version in named, f"vLLM {', '.join(sorted(named)) or 'unnamed'}", f"vLLM {version}, as the record says"
    )


def secrets(texts: dict[str, str], notebook: NotebookNode) -> Finding:
    """No text holds what looks like a key."""
    open_ = [name for name in (bundle.RECORD, bundle.LOG) if redact.text(texts[name], []) != texts[name]]
    seen: list[str] = []
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    bundle.strings(outputs, lambda text: seen.append(text) or text)
    open_ += [bundle.NOTEBOOK] if any(redact.text(text, []) != text for text in seen) else []
    return Finding(
        "secrets", not open_, ", ".join(open_) or "none seen", "texts with secrets masked", "pack the run anew"
    )


def moved_links(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The page's relative links as they lead from another folder than notebooks/targets."""
    there = lambda link: f"]({os.path.relpath(NOTEBOOKS / 'targets' / link[1], folder)})"  # noqa: E731
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\.\./[^)]+)\)", there, cell.source)
    return notebook


def shown_only(notebook: NotebookNode) -> NotebookNode:
    """The notebook with text and pictures alone: what could run in a browser goes, what it said as text stays."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
            for output in cell.outputs:
                if "data" in output:
                    output.data = {kind: value for kind, value in output.data.items() if kind in HARMLESS}
    return notebook


def file(bundled: Path, folder: Path = FOLDER) -> tuple[Judgement, list[Path]]:
    """File a bundle that passes every check under its contributor; returns what was found and written.

    Raises `CookbookError` where it is no bundle; a failed check files nothing, and the judgement says so.
    """
    judgement, record, notebook, manifest = judged(bundled)
    if not judgement.passed:
        return judgement, []
    stem = (
        folder
        / manifest.contributor
        / record.target
        / f"{record.finished:%Y%m%d-%H%M%S}-{record.model}-{record.weights}"
    )
    kept, page = stem.with_suffix(".json"), stem.with_suffix(".ipynb")
    if kept.exists():
        raise CookbookError("this run is filed already", why=f"{shown(kept)} is there", do="import another run")
    page.parent.mkdir(parents=True, exist_ok=True)
    write(moved_links(shown_only(cleaned(notebook, source_of(record.target, record), {})), page.parent), page)
    digest = [f"ran in the image {manifest.image_digest}"] if manifest.image_digest else []
    record.model_copy(update={"notes": [*record.notes, *digest, f"measured by {manifest.contributor}"]}).write(kept)
    return judgement, [kept, page]
