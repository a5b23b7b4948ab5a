"""Checks of replicas behind one address: that each of them does its share of the work."""

import re
from collections.abc import Sequence

import httpx

from helpers.checks.contract import Contract, Facts

# one line per finish reason
FINISHED = re.compile(r"^vllm:request_success_total\{[^}]*\} ([\d.e+]+)$", re.MULTILINE)


def finished(metrics: str) -> int:
    """Requests that a server has finished, from the text of its `/metrics`.

    >>> finished('vllm:request_success_total{engine="0",finished_reason="stop"} 2.0\\n'
    ...          'vllm:request_success_total{engine="0",finished_reason="length"} 1.0')
    3
    """
    return int(sum(float(value) for value in FINISHED.findall(metrics)))


def counts(addresses: Sequence[str]) -> list[int]:
    """Requests finished so far by each server (`http://127.0.0.1:PORT`)."""
    return [finished(httpx.get(f"{address}/metrics", timeout=10).text) for address in addresses]


def shared_out(before: Sequence[int], after: Sequence[int], sent: int) -> Contract:
    """Every request of `sent`, asked at once, was finished by some replica, and each replica had its equal share."""
    facts, done = Facts(), [late - early for early, late in zip(before, after, strict=True)]
    facts.same("replicas", len(done), len(before))
    facts.need("all finished", sum(done) == sent, f"{sum(done)} of {sent} requests were finished")
    share = sent / len(done)
    facts.need("equal shares", all(abs(n - share) < 1 for n in done), f"the replicas finished {done} requests")
    return facts.contract("replicas.shared_out", "scale_out")
