"""The tab Size of start_here's panel: `cookbook size` with controls, the steady answer at once, bursts on a button."""

import threading
from typing import Any

import ipywidgets as w

from helpers.errors import CookbookError
from helpers.panel.look import html, line
from helpers.progress import SHOW
from maintain.sizing.commands import NOTES
from maintain.sizing.plan import COLUMNS, Demand, load_prices, size

MODELS = ("gpt-oss-120b", "gpt-oss-20b")
FIRST = {
    "users": 500,
    "prompt tokens": 2000,
    "output tokens": 500,
}  # what the fields begin with: docs/sizing.md's example
SPEED = 30.0


class SizeTab(w.VBox):
    """GPUs of each target for a load, read off the records. What it shows belongs to the last values of its fields."""

    def __init__(self) -> None:
        self.lock, self.asked = threading.RLock(), 0
        wide, style = w.Layout(width="200px"), {"description_width": "100px"}
        self.model = w.Dropdown(options=MODELS, description="model", layout=w.Layout(width="240px"))
        self.fields = {
            name: w.BoundedIntText(value, min=1, max=10_000_000, description=name, layout=wide, style=style)
            for name, value in FIRST.items()
        }
        self.speed = w.BoundedFloatText(SPEED, min=0.1, max=1e5, description="tok/s per user", layout=wide, style=style)
        self.simulate = w.Button(description="Simulate bursts", layout=w.Layout(width="auto"))
        self.status, self.table = w.HTML(), w.HTML()
        for one in (self.model, *self.fields.values(), self.speed):
            one.observe(self.steady, "value")
        self.simulate.on_click(self.in_bursts)
        load = w.HBox([*self.fields.values(), self.speed], layout=w.Layout(flex_flow="row wrap"))
        super().__init__(
            [w.HBox([self.model, self.simulate]), load, self.status, self.table, w.HTML(line(NOTES, "quiet"))]
        )
        self.steady()

    def demand(self) -> Demand:
        """The load that the fields say."""
        users, inputs, outputs = (field.value for field in self.fields.values())
        return Demand(users, inputs, outputs, self.speed.value)

    def steady(self, *_: Any) -> None:
        """Another load: its steady answer. A simulation under way is another load's, and no longer shown."""
        with self.lock:
            self.asked += 1
            self.simulate.disabled = False
            self.answer(self.asked, steady=True)

    def in_bursts(self, *_: Any) -> None:
        """Simulate on a thread of its own."""
        with self.lock:
            self.asked += 1
            self.simulate.disabled = True
            threading.Thread(target=self.answer, args=(self.asked, False), daemon=True).start()

    def answer(self, number: int, steady: bool) -> None:
        """Size the load, and show it unless another one was asked for meanwhile."""
        SHOW.set(lambda words: self.show(number, line(words)))
        try:
            demand, model = self.demand(), self.model.value
            rows = [one.cells(load_prices()) for one in size(demand, model, steady)]
            told = line(f"{model}: {demand}"), html("grid", COLUMNS, rows)
        except CookbookError as error:
            told = line(error.line(), "bad"), ""
        self.show(number, *told)
        self.simulate.disabled = self.simulate.disabled and number != self.asked

    def show(self, number: int, status: str, table: str | None = None) -> None:
        """Show words and rows of the load of this number."""
        with self.lock:
            if number == self.asked:
                self.status.value = status
                self.table.value = self.table.value if table is None else table
