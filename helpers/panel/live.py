"""A server as the panel sees it: found by its lease, stopped with what it names, its gauges off `/metrics`; no widgets."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from helpers.files import read_json
from helpers.paths import RECORDS, RUNS
from helpers.server import Lease, leases, stop

# `vllm:NAME{labels} value` of vLLM 0.32.0
METRIC = re.compile(r"^vllm:(\w+)(?:\{[^}]*\})? ([\d.eE+-]+|nan)$", re.M)
TAIL_LINES, TAIL_BYTES = 12, 16_384  # of the log


def running() -> Lease | None:
    """The model server that was started last and still runs; None where there is none."""
    return next((one for one in reversed(leases()) if one.target != "tools" and one.running()), None)


def stop_all(lease: Lease) -> str:
    """Stop a server with the tool servers and replicas that its command names and nobody else's does; the lines to show."""
    lines = [f"{lease.model}: {stop(lease)}"]
    return "\n".join([*lines, *(stop_all(other) for other in named(lease) if unused(other))])


def named(lease: Lease) -> list[Lease]:
    """The servers whose ports a server's command names."""
    ports = {int(port) for word in lease.argv for port in re.findall(r":(\d+)\b", word)}
    return [one for one in leases() if one.id != lease.id and one.port in ports]


def unused(lease: Lease) -> bool:
    """Whether no running server's command names it."""
    return not any(lease in named(one) for one in leases())


def page(lease: Lease) -> str:
    """A server's `/metrics`, "" while it does not answer."""
    try:
        reply = httpx.get(f"{lease.base_url}/metrics", timeout=2)
        return reply.text if reply.status_code == 200 else ""
    except httpx.HTTPError:
        return ""


@dataclass
class Meter:
    """Gauges from pages of `/metrics` in the order of time: rates are those since the page before."""

    before: dict[str, float] = field(default_factory=dict)
    at: float = 0.0  # seconds of a monotonic clock

    def read(self, text: str, now: float) -> dict[str, str]:
        """The gauges of a page that was fetched at `now`, summed over engines, by the name that is shown."""
        found: dict[str, float] = {}
        for name, value in METRIC.findall(text):
            found[name] = found.get(name, 0.0) + float(value)
        before, seconds = self.before or found, now - self.at
        self.before, self.at = found, now
        names = ("generation_tokens_total", "time_to_first_token_seconds_count", "time_to_first_token_seconds_sum")
        tokens, firsts, waited = (max(0.0, found.get(name, 0.0) - before.get(name, 0.0)) for name in names)
        return {
            "running": f"{found.get('num_requests_running', 0):.0f}",
            "waiting": f"{found.get('num_requests_waiting', 0):.0f}",
            "KV cache": f"{found.get('kv_cache_usage_perc', 0):.1%}",
            "output tok/s": f"{tokens / seconds:,.0f}",
            "TTFT, mean": f"{1e3 * waited / firsts:,.0f} ms" if firsts else "–",
        }


def tail(log: Path) -> str:
    """The last lines of a log, "" where it is not there yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:])
    except OSError:
        return ""


def expected_start(target: str, model: str, size: int, profile: str) -> float | None:
    """Seconds that the newest start of this kind took: of a run on this machine, else of a record; None for neither."""
    for files in (RUNS.glob("[0-9]*/record.json"), (RECORDS / target).glob("*.json")):
        for file in sorted(files, reverse=True):  # their names are times
            found = read_json(file) or {}
            served, seconds = found.get("serving", {}), found.get("startup_s", {}).get("total")
            own = found.get("target"), found.get("model"), served.get("tensor_parallel_size"), served.get("profile")
            if own == (target, model, size, profile) and seconds:
                return float(seconds)
    return None
