"""The tab that shows what records say: curves over any two figures, a slider to the best layout, two records compared."""

import threading
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import ipywidgets as w

from helpers.files import write_whole
from helpers.panel import explorer
from helpers.panel.explorer import AXES, NOISE
from helpers.panel.look import html, line
from helpers.paths import RUNS, shown
from helpers.plots.explorer import explorer_figure, front_figure
from helpers.records.anchors import load_anchors, matching

PARETO = ("tok/s per user", "tok/s per GPU")  # the axes on which a roofline and published points lie


class ExploreTab(w.VBox):
    """Records chosen from a list; everything else follows from them."""

    def __init__(self, target: str = "") -> None:
        self.lock, self.settling = threading.RLock(), False
        sources = explorer.speed_sources()
        named = [(source.label, source) for source in sources]
        own = [s for s in sources if s.record.target == target] or sources[:1]
        alike = [s for s in own if s.record.model == own[0].record.model]
        chosen = [s for s in alike if s.points(explorer.lengths_of(alike)[0])][:3]
        wide = w.Layout(width="100%", max_width="860px")
        listed = w.Layout(width="100%", max_width="860px", height="150px")
        self.records = w.SelectMultiple(options=named, value=chosen, description="records", layout=listed)
        self.lengths = w.Dropdown(description="tokens", options=[("", (0, 0))])
        self.x = w.Dropdown(options=[*AXES], value=PARETO[0], description="across")
        self.y = w.Dropdown(options=[*AXES], value=PARETO[1], description="up")
        self.speed = w.FloatSlider(
            description="tok/s per user", step=0.1, layout=wide, continuous_update=False, readout_format=".1f"
        )
        self.speed.style.description_width = "initial"
        self.png = b""
        self.image, self.saved, self.layout_line, self.command, self.table = (w.HTML() for _ in range(5))
        self.first, self.second = (w.Dropdown(options=named, layout=wide, description=d) for d in ("first", "second"))
        export = w.Button(description="Export PNG, CSV", layout=w.Layout(width="auto", flex="0 0 auto"))
        export.on_click(self.save)
        for one in (self.lengths, self.x, self.y, self.speed):
            one.observe(self.draw, "value")
        for one in (self.lengths, self.first, self.second):
            one.observe(self.compare, "value")
        self.records.observe(self.choose, "value")
        rows = [self.records, w.HBox([self.lengths, self.x, self.y, export]), self.image, self.saved]
        compared = [w.HTML(line("Compare two records")), self.first, self.second, self.table]
        super().__init__([*rows, self.speed, self.layout_line, self.command, *compared])
        self.choose()

    def choose(self, *_: Any) -> None:
        """Bring lengths, slider and comparison up to the chosen records."""
        with self.lock:
            if pairs := explorer.lengths_of(self.records.value):
                self.settling = True  # what changes below asks for one new figure, not for five
                kept = self.lengths.value if self.lengths.value in pairs else pairs[0]
                self.lengths.options = [(f"{given:,} in / {made:,} out", (given, made)) for given, made in pairs]
                self.lengths.value = kept
                self.speed.max = round(max(p.tok_s_per_user for s in self.records.value for p in s.points(kept)), 1)
                self.first.value, self.second.value = self.records.value[-1], self.records.value[0]
                self.settling = False
                self.draw()
                self.compare()

    def draw(self, *_: Any) -> None:
        """The figure, what it shows in words, and the best layout for the slider's speed."""
        with self.lock:
            lengths, x, y, least = self.lengths.value, self.x.value, self.y.value, self.speed.value
            curves = {s.short(self.records.value): s.points(lengths) for s in self.records.value if s.points(lengths)}
            if not curves or self.settling:
                self.layout_line.value = (
                    "" if curves else line("choose one record or several, with points at these lengths")
                )
                return
            record, found = self.records.value[0].record, explorer.best(self.records.value, lengths, least)
            if (x, y) == PARETO and max(map(len, curves.values())) > 1:
                anchors = matching(load_anchors(), record.model, record.target, *lengths)
                figure = front_figure(curves, anchors, least, found[1] if found else None)
            else:
                figure = explorer_figure(curves, AXES[x], AXES[y])
            self.png = figure._repr_png_()[0]
            told = [f"{label}: {x} {span(points, x)}, {y} {span(points, y)}" for label, points in curves.items()]
            self.image.value = html("figure", b64encode(self.png).decode(), told)
            self.layout_line.value = line(f"no chosen record gives each user {least:.1f} tok/s", "bad")
            self.command.value = ""
            if found:
                served, point = found[0].record.serving, found[1]
                self.layout_line.value = line(
                    f"{least:.1f} tok/s per user or more: {served.label}, {served.profile} profile, {point.concurrency} "
                    f"requests in flight give {point.output_tok_s_per_gpu:,.0f} tok/s per GPU, the most of these records, "
                    f"at {point.tok_s_per_user:,.1f} tok/s per user",
                    "good",
                )
                self.command.value = html("code", found[0].command())

    def compare(self, *_: Any) -> None:
        """The second record against the first."""
        with self.lock:
            if not self.settling:
                found = explorer.compared(self.first.value, self.second.value, self.lengths.value)
                self.table.value = html("ratios", found, NOISE)

    def save(self, _: Any = None) -> None:
        """Write figure and points beside the runs."""
        folder = RUNS / "exports" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        try:
            write_whole(folder / "explorer.png", self.png)
            write_whole(folder / "explorer.csv", explorer.as_csv(self.records.value, self.lengths.value))
            self.saved.value = line(f"written: {shown(folder)}/explorer.png and explorer.csv", "good")
        except OSError as error:
            self.saved.value = line(f"not written: {error.strerror}; free some disk", "bad")


def span(points: list, axis: str) -> str:
    """The first and the last value of a curve over an axis."""
    return f"{AXES[axis][1](points[0]):,.4g} to {AXES[axis][1](points[-1]):,.4g}"
