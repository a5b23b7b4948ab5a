"""docs/observability.md and docs/fragments.md, from recipes/observability.yaml and recipes/fragments.yaml."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from helpers.pages.markdown import cell, row, table
from helpers.paths import RECORDS, ROOT
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.budget import step_gib
from helpers.records.curves import load_records, options
from maintain.deploy.fragments import HOST_GIB, fragments, long_requests, offloaded_tokens
from maintain.deploy.observe import watched

WATCHING = ROOT / "docs" / "observability.md"
FRAGMENTS = ROOT / "docs" / "fragments.md"
LAYOUTS = (("h200", "gpt-oss-120b"), ("h100", "gpt-oss-120b"), ("h200", "gpt-oss-20b"), ("rtx4090", "gpt-oss-20b"))
LONG, STEP, USUAL = 131_072, 32_768, 8192  # tokens: the model's context, the fragment's step, the recipes' step
HERE = (
    "here, {model} with {weights} weights on {gpu}, {variant}, against the same server without, one run of each{cut}: of "
    "{prompt_tokens} prompt tokens that came back, the GPU still had {known_in_gpu} (without: {known_in_gpu_before}) and host "
    "memory {known_in_host}; TTFT {ttft_p50_ms} ms against {ttft_p50_ms_before} ms, {output_tok_s} output tok/s against "
    "{output_tok_s_before} (vLLM {vllm}, {day}){uncut}"
)
TEXT = """<!-- written by `cookbook render`; do not edit -->

# Watching a server

Write the files, and let Prometheus scrape your server's `/metrics`:

```bash
.venv/bin/cookbook deploy prometheus --server 127.0.0.1:8000 --out watch
prometheus --config.file=watch/prometheus.yaml --web.listen-address=127.0.0.1:9090
```

`prometheus` is a Debian and Ubuntu package. `--server` is repeatable, one for each copy. Import `watch/gpt-oss.dashboard.json`
into Grafana. Check the rules after you change a bound: `promtool check rules watch/gpt-oss.rules.yaml`, then
`promtool test rules watch/gpt-oss.rules.test.yaml`. In Kubernetes, `cookbook deploy kubernetes` writes the same rules and
dashboard for Prometheus' operator ([docs/scale.md](scale.md)).

A test lets a real Prometheus scrape a real server: each rule is evaluated, the server's `/metrics` holds every name below, and
every panel's query returns a value. The dashboard fits the types of Grafana's own package `@grafana/schema` 12.4, and the JSON
schemas of dashboard, panel and query in `grafana/grafana-foundation-sdk` (commit f178d5a). It was never opened in Grafana:
Debian, PyPI and npm carry no Grafana server.

## Alerts

Set the bounds to what you promise your users. *Failure* is the signature of `cookbook doctor` to read first.

{alerts}

## Series

Rates and quantiles are over {window}. One series for each job, instance and model.

{records}
"""


EXTENDED = """<!-- written by `cookbook render`; do not edit -->

# Extending a recipe

A fragment is a few flags laid over a recipe. Try one on a server of its own first, then take it into a cluster's files:

```bash
.venv/bin/cookbook deploy server h200 --model gpt-oss-120b --with kv-offload --host-gib 100 --out offload
.venv/bin/cookbook deploy kubernetes h200 --model gpt-oss-120b --with kv-offload --with agentic --most 4 --out agents
.venv/bin/cookbook deploy disaggregated h200 --model gpt-oss-120b --out parted
```

Every fragment passes vLLM's own parser in a test. {ran} What others measured stands beside each, with its source.

{fragments}
## What they cost in memory

Of one GPU, by the same count as the memory budget of every page. *Offloaded* is what {host} GiB of host memory keep of prompts of
131,072 tokens.

{memory}
"""


def pages() -> Iterator[tuple[Path, str]]:
    """Both pages, and what they should hold."""
    yield WATCHING, watching()
    yield FRAGMENTS, extending()


def extending() -> str:
    """docs/fragments.md as it should be."""
    parts = []
    for name, one in fragments().items():
        flags = shlex.join(word for flag, value in one.flags(HOST_GIB, "ROLE").items() for word in (flag, *value))
        measured = "\n".join(f"- {line}" for line in (*(here() if name == "kv-offload" else ()), *one.measured))
        told = f"## {name}: {one.title}\n\nFor {one.for_}.\n\n```text\n{flags}\n```\n\n{one.constraint.strip()}\n\n"
        parts.append(told + f"{measured}\n\nOn the CPU: {one.cpu}. Source: {one.source}.\n")
    rows = []
    for name, known in LAYOUTS:
        target, model = load_target(name), load_model(known)
        parameters = check_parameters(target, {"model": known})
        gib, count = long_requests(target, model, parameters, LONG)
        more = step_gib(model, STEP) - step_gib(model, USUAL)
        label = f"{known} on {target.title}, TP{parameters.tensor_parallel_size}"
        held = offloaded_tokens(target, model, parameters, HOST_GIB)
        rows.append(row(label, f"{gib:.1f} GiB", count, f"+{more:.1f} GiB", f"{held / 1e6:.1f} million tokens"))
    columns = ["", "KV cache of one request of 131,072 tokens", "so many fit", "a step of 32,768 tokens", "offloaded"]
    filled = EXTENDED.replace("{fragments}", "\n".join(parts)).replace("{host}", str(HOST_GIB))
    ran = "Of them kv-offload ran here on a GPU." if any(here()) else "None was run here on a GPU."
    return filled.replace("{memory}", table(columns, rows)).replace("{ran}", ran)


def here() -> Iterator[str]:
    """What a campaign's steps about prompts that come back measured, with the fragment and without."""
    for plain in sorted(RECORDS.glob("*/evidence/*-recurring.json")):
        offload = plain.with_name(plain.name.replace("-recurring", "-recurring-offload"))
        if not offload.exists():
            continue
        without, laid = (json.loads(one.read_text(encoding="utf-8")) for one in (plain, offload))
        if (without["state"], laid["state"]) != ("passed", "passed"):
            continue
        before, after = without["rows"][-1], laid["rows"][-1]
        shown = {name: f"{value:,.0f}" for name, value in after.items()} | {
            f"{name}_before": f"{value:,.0f}" for name, value in before.items()
        }
        cut, uncut = caches(without, laid, plain.parents[1])
        yield HERE.format_map({**laid, "gpu": laid["gpu"] or "a CPU", "cut": cut, "uncut": uncut, **shown})


def caches(without: dict, laid: dict, records: Path) -> tuple[str, str]:
    """How far both servers' KV cache on the GPU was cut, and that the newest record's would have held the prompts."""
    asked = [options(one["argv"]).get("--kv-cache-memory-bytes") for one in (without, laid)]
    if not all(asked):
        return "", ""
    sizes = " and ".join(dict.fromkeys(f"{int(value[0]) / 2**30:g} GiB" for value in asked if value))
    cut = f", the GPU's KV cache cut to {sizes} (`--kv-cache-memory-bytes`)"
    size = int(options(laid["argv"]).get("--tensor-parallel-size", ("1",))[0])
    held = [
        r.memory["kv_cache_tokens"]
        for r in load_records(records.name, records)
        if (r.model, r.release, r.serving.tensor_parallel_size) == (laid["model"], laid["vllm"], size)
        and "kv_cache_tokens" in r.memory
        and not r.serving.variant
    ]
    if not held or held[-1] < laid["rows"][-1]["prompt_tokens"]:
        return cut, ""
    return (
        cut,
        f". A server without the cut held {held[-1]:,.0f} tokens: there these prompts would have stayed on the GPU",
    )


def watching() -> str:
    """docs/observability.md as it should be."""
    data = watched()
    alerts = [
        row(
            f"`{name}`",
            f"{one.says} ({one.severity}, after {one.for_})",
            one.do,
            f"[{one.signature}](failures.md#{one.signature.lower()})",
        )
        for name, one in data.alerts.items()
    ]
    records = [row(f"`{name}`", cell(one.what)) for name, one in data.records.items()]
    filled = TEXT.replace("{alerts}", table(["alert", "it says", "do", "failure"], alerts))
    return filled.replace("{records}", table(["series", "what it is"], records)).replace("{window}", data.window)
