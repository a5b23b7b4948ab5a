"""What a tuning found, as a table."""

from typing import Any

from helpers.bench.tune.choice import chosen, verdicts
from helpers.bench.tune.plan import changed, label
from helpers.bench.tune.study import Study, one_line


def rows(study: Study) -> list[dict[str, Any]]:
    """One row per configuration, bare first; `x at N` is the ratio to bare at concurrency N."""
    if study.baseline is None:
        return []
    first = {"configuration": "bare vllm serve"}
    first |= {f"x at {users}": 1.0 for users in study.users_per_gpu}
    found = [first | {"gain": 1.0, "state": "baseline", "cause": _figures(study)}]
    for verdict in verdicts(study):
        row = {"configuration": label(verdict.trial.values)}
        ratios = verdict.ratios or [None] * len(study.users_per_gpu)
        row |= {f"x at {users}": ratio for users, ratio in zip(study.users_per_gpu, ratios, strict=True)}
        found.append(row | {"gain": verdict.gain, "state": verdict.state, "cause": verdict.cause})
    return found


def _figures(study: Study) -> str:
    form = "{:.2f}" if study.objective == "latency" else "{:,.0f}"
    values = [form.format(study.goal.value(point)) for point in study.baseline.points]
    return f"{', '.join(values)} {study.goal.unit}"


def plain(study: Study) -> str:
    """A study in lines that never depend on a terminal: head, bare's figures, a line per configuration, notes."""
    lines = [
        f"{study.target} · {study.model} · {study.weights} weights · {study.goal} · vLLM {study.versions['vllm']}",
        f"bare vllm serve at concurrency {', '.join(map(str, study.users_per_gpu))}: {_figures(study)}",
    ]
    for verdict in verdicts(study):
        ratios = ", ".join(f"{ratio:.2f}x" for ratio in verdict.ratios) or "-"
        cause = f" ({one_line(verdict.cause)})" if verdict.cause else ""
        lines.append(f"  {changed(verdict.trial.values)}: {ratios}; {verdict.state}{cause}")
    return "\n".join([*lines, *(f"note: {note}" for note in study.notes)])


def text(study: Study) -> str:
    """The study's lines and its outcome, for a terminal."""
    return f"{plain(study)}\n{outcome(study)}"


def outcome(study: Study) -> str:
    """The result in one line."""
    ended = study.calls[-1].ended if study.calls else ""
    tried = f"{len(study.trials)} configurations, {sum(call.starts for call in study.calls)} server starts; {ended}"
    won = chosen(study)
    if won is None:
        return f"chosen: none, no configuration beats bare `vllm serve` ({tried})"
    return f"chosen: {label(won.trial.values)}, {won.gain:.2f}x bare `vllm serve` ({tried})"
