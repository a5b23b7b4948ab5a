"""Contracts of replicas behind vllm-router: what a key opens, what a killed replica costs, what a rolling restart costs."""

from collections.abc import Mapping, Sequence

from helpers.checks import Contract, Facts


def guarded(with_key: Mapping[str, int], without: Mapping[str, int], wrong: Mapping[str, int]) -> Contract:
    """The statuses by endpoint: 200 with the key, 401 without one and with another."""
    facts = Facts()
    facts.same("endpoints", len(with_key), len(without))
    for name, statuses, wanted in (
        ("answer with the key", with_key, 200),
        ("refuse without", without, 401),
        ("refuse another", wrong, 401),
    ):
        others = {path: status for path, status in statuses.items() if status != wanted}
        facts.need(name, bool(statuses) and not others, f"{others} instead of {wanted}")
    return facts.contract("replicas.key", "scale_out")


def killed(ends: Sequence[str], later: Sequence[str | None], back: Sequence[int]) -> Contract:
    """Of the streams (`ends`: how each ended, "done" or an error) the killed replica's own were lost and no other.

    `later` are the answers to what was asked afterwards, `back` the requests that each replica answered once all were back.
    """
    facts, lost = Facts(), sum(end != "done" for end in ends)
    facts.same("streams lost", lost, len(ends) // len(back))
    facts.need("later ones answered", all(later), f"{sum(not one for one in later)} of {len(later)} were not")
    facts.need("back in rotation", all(back), f"the replicas answered {list(back)} requests")
    return facts.contract("replicas.killed", "scale_out")


def rolled(failed: Sequence[str], answered: int, old: Sequence[int], new: Sequence[int]) -> Contract:
    """Under load every request was answered, while each process (`old` and `new` pids) gave way to another."""
    facts = Facts()
    facts.same("requests failed", len(failed), 0)
    facts.need("under load", answered > 0, "no request was sent")
    facts.need("all replicas anew", len(old) == len(new) and not set(old) & set(new), f"{old} became {new}")
    return facts.contract("replicas.rolled", "scale_out")
