"""What a target's committed records say, drawn: figures for pages that run nothing."""

import io
from dataclasses import dataclass
from functools import cached_property

from matplotlib.figure import Figure

from helpers.bench.anchors import load_anchors, matching
from helpers.bench.record import Point, RunRecord
from helpers.bench.records import curves, load_records
from helpers.errors import CookbookError
from helpers.plots.pareto import pareto_figure
from helpers.recipes import load_target


@dataclass(frozen=True, repr=False)
class Recorded:
    """A figure over recorded points; its text holds the numbers that it draws, for readers who cannot see it.

    A notebook shows the figure. `cookbook render` draws it anew when the text has changed.
    """

    title: str
    measured: dict[str, list[Point]]
    anchors: list

    @cached_property
    def figure(self) -> Figure:
        return pareto_figure(self.measured, self.anchors, self.title)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    def text(self) -> str:
        lines = [self.title, "concurrency, output tok/s per GPU, tok/s per user, share of the roofline"]
        for label, points in self.measured.items():
            lines += [
                f"  {label:6} {p.concurrency:5} {p.output_tok_s_per_gpu:9,.0f} {p.tok_s_per_user:7.1f}"
                + (f" {p.roofline_fraction:6.0%}" if p.roofline_fraction else "")
                for p in points
            ]
        lines.append(f"published points beside them: {len(self.anchors) or 'none'}")
        for a in sorted(self.anchors, key=lambda anchor: (anchor.label, anchor.concurrency or 0)):
            user = f"{a.tok_s_per_user:.1f}" if a.tok_s_per_user else "offline"
            lines.append(f"  {a.label} {a.concurrency or ''} {a.output_tok_s_per_gpu:,.0f} {user}")
        return "\n".join(lines)

    __repr__ = text


def pareto(target: str, model: str, input_tokens: int = 1024, output_tokens: int = 1024) -> Recorded:
    """Throughput per GPU against speed per user of a model on a target: its records, roofline and published points."""
    records = [record for record in load_records(target) if record.model == model]
    measured = curves(records, model, input_tokens, output_tokens)
    if not measured:
        raise CookbookError(f"no record of {target} holds {model} at {input_tokens:,}/{output_tokens:,} tokens")
    title = f"{model} on {load_target(target).title}, {input_tokens:,}/{output_tokens:,} tokens: {weights_and_versions(records)}"
    return Recorded(title, measured, matching(load_anchors(), model, target, input_tokens, output_tokens))


def weights_and_versions(records: list[RunRecord]) -> str:
    """Which weights and which vLLM records were taken with."""
    return ", ".join(sorted({f"{record.weights} weights, vLLM {record.versions['vllm']}" for record in records}))
