"""What a target's committed records say, drawn: figures for pages that run nothing."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from matplotlib.figure import Figure

from helpers.errors import CookbookError
from helpers.plots.pareto import pareto_figure
from helpers.recipes import load_target
from helpers.records.anchors import load_anchors, matching
from helpers.records.curves import curves, load_records, newest_of, points_of, versioned
from helpers.records.record import RunRecord


@dataclass(frozen=True, repr=False)
class Recorded:
    """A figure over records; its text holds the numbers that it draws, for readers who cannot see it.

    A notebook shows the figure. `cookbook render` draws it anew when the text has changed.
    """

    lines: list[str]
    draw: Callable[[], Figure]

    @cached_property
    def figure(self) -> Figure:
        return self.draw()

    @property
    def alt(self) -> str:
        """The text on one line, as an image's alternative text."""
        return "; ".join(" ".join(line.split()) for line in self.lines)

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue(), {"alt": self.alt}

    def __repr__(self) -> str:
        return "\n".join(self.lines)


def pareto(
    target: str, model: str, input_tokens: int = 1024, output_tokens: int = 1024, newest: bool = False
) -> Recorded:
    """Throughput per GPU against speed per user of a model on a target: its records, roofline and published points.

    With `newest` only the newest vLLM that ran is drawn.
    """
    records = [record for record in load_records(target) if record.model == model]
    if newest:
        records = newest_of(records)
    measured = versioned([r for r in records if r.state == "passed"], model, input_tokens, output_tokens)
    if not measured:
        raise CookbookError(f"no record of {target} holds {model} at {input_tokens:,}/{output_tokens:,} tokens")
    stacks = stacks_of(record for record in records if points_of(record, input_tokens, output_tokens))
    title = f"{model} on {load_target(target).title}, {input_tokens:,}/{output_tokens:,} tokens: {stacks}"
    anchors = matching(load_anchors(), model, target, input_tokens, output_tokens)
    lines = [title, "concurrency, output tok/s per GPU, tok/s per user, share of the roofline"]
    lines += [
        f"  {label:6} {p.concurrency:5} {p.output_tok_s_per_gpu:9,.0f} {p.tok_s_per_user:7.1f}"
        + (f" {p.roofline_fraction:6.0%}" if p.roofline_fraction else "")
        for label, points in measured.items()
        for p in points
    ]
    lines.append(f"published points beside them: {len(anchors) or 'none'}")
    for a in sorted(anchors, key=lambda anchor: (anchor.label, anchor.concurrency or 0)):
        user = f"{a.tok_s_per_user:.1f}" if a.tok_s_per_user else "offline"
        lines.append(f"  {a.label} {a.concurrency or ''} {a.output_tok_s_per_gpu:,.0f} {user}")
    current = curves(newest_of(records), model, input_tokens, output_tokens)
    older = measured.keys() - current.keys() if current else set()  # where nothing is newer, nothing stands back
    return Recorded(lines, lambda: pareto_figure(measured, anchors, title, faint=older))


def stacks_of(records: Iterable[RunRecord]) -> str:
    """The weights and releases of vLLM of records, each said once."""
    found = {(record.weights, record.release) for record in records if record.state == "passed"}
    return "; ".join(
        f"{weights} weights, vLLM {', '.join(sorted(version for own, version in found if own == weights))}"
        for weights in sorted({weights for weights, _ in found})
    )
