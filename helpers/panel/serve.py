"""The tab that starts and stops a server: pickers, memory, command, preflight, phases, log, gauges, verdict."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as w

from helpers.doctor import diagnose
from helpers.errors import CookbookError
from helpers.machine import preflight
from helpers.machine.interpreter import serving_stack
from helpers.panel import live
from helpers.panel.choice import FORMS, OFFERED, choice, offers, settled
from helpers.panel.look import html, line
from helpers.progress import SHOW
from helpers.recipes import Parameters, Target, check_parameters, load_target, target_names
from helpers.recipes.matching import best_target, device_of
from helpers.runs.run import Run
from helpers.server import Lease, stop
from helpers.server.readiness import StartProgress

LABELS = dict(zip(OFFERED, ["model", "weights", "TP size", "replicas", "profile", "activations"], strict=True))
LOOK_S = 1.0  # between two looks at the server
MIDDLE = {"align_items": "center"}


class Picker(w.HBox):
    """A row of buttons, one for each value; a value that cannot be chosen is disabled and says why."""

    def __init__(self, name: str, picked: Callable[[str, Any], None]):
        wide = w.Layout(width="auto", min_width="52px")
        self.buttons = {value: w.Button(description=str(value), layout=wide) for value in OFFERED[name]}
        for value, button in self.buttons.items():
            button.on_click(lambda _, value=value: picked(name, value))
        label = w.HTML(line(LABELS[name]), layout=w.Layout(width="92px"))
        super().__init__([label, *self.buttons.values()], layout=w.Layout(**MIDDLE))

    def show(self, offered: dict[Any, str], chosen: Any) -> None:
        """Mark the chosen value; disable what cannot be chosen."""
        for value, button in self.buttons.items():
            mine, why = value == chosen, offered[value]
            button.description = f"✓ {value}" if mine else str(value)
            button.disabled, button.tooltip = bool(why), why or f"choose {value}"
            button.button_style = "primary" if mine else ""


class ServeTab(w.VBox):
    """Everything about one server. Callbacks and the watching thread change it under one lock."""

    def __init__(self, machine: Any, target: str = "") -> None:
        self.lock, self.ended = threading.RLock(), threading.Event()
        self.machine, self.fit = machine, best_target(device_of(machine)).target
        self.busy, self.stopping, self.ready = "", False, False
        self.chosen: dict[str, Any] = {}
        self.lease: Lease | None = None
        self.progress, self.meter = StartProgress(0.0), live.Meter()
        self.expected: float | None = None  # seconds
        titles = [(load_target(n).title + " · this machine" * (n == self.fit), n) for n in target_names()]
        self.target = w.Dropdown(options=titles, value=target or self.fit, description="target")
        self.port = w.BoundedIntText(value=8000, min=0, max=65535, description="port", layout=w.Layout(width="180px"))
        self.rehearse = w.Checkbox(description="rehearse on the CPU with gpt-oss-nano", indent=False)
        self.pickers = {name: Picker(name, self.pick) for name in OFFERED}
        self.why, self.bar, self.note, self.elsewhere = (w.HTML() for _ in range(4))
        self.report, self.status, self.gauges, self.verdict, self.tail = (w.HTML() for _ in range(5))
        self.texts = {form: w.HTML() for form in FORMS}
        self.buttons = {name: w.Button(description=name) for name in ("Check", "Install", "Launch", "Stop")}
        self.buttons["Launch"].button_style, self.buttons["Stop"].button_style = "success", "warning"
        for name, button in self.buttons.items():
            button.on_click(partial(self.press, name))
        self.target.observe(self.retarget, "value")
        for one in (self.port, self.rehearse):
            one.observe(lambda _: self.show(), "value")
        self.retarget()
        where = w.HBox([self.target, self.port, self.rehearse], layout=w.Layout(**MIDDLE))
        forms = w.Tab([*self.texts.values()], titles=[*FORMS.values()])
        rows = [where, *self.pickers.values(), self.why, self.bar, forms, self.note, w.HBox([*self.buttons.values()])]
        super().__init__([*rows, self.elsewhere, self.report, self.status, self.gauges, self.verdict, self.tail])
        threading.Thread(target=self.watch, daemon=True).start()

    @property
    def recipe(self) -> Target:
        return load_target(self.target.value)

    @property
    def here(self) -> bool:
        """Whether the chosen target is this machine's."""
        return bool(self.target.value == self.fit)

    def parameters(self) -> Parameters:
        """The checked parameters of what Launch would start."""
        given = {"port": self.port.value, "rehearse": self.rehearse.value and not self.here, "keep_server": True}
        return check_parameters(self.recipe, self.chosen | given)

    def retarget(self, *_: Any) -> None:
        """Begin with the recipe's own values of another target."""
        with self.lock:
            self.chosen = {}
            self.pick()

    def pick(self, name: str = "", value: Any = None) -> None:
        """Take a value; another model brings its own size, weights and profile."""
        with self.lock:
            given = {} if name == "model" else self.chosen
            memory = self.machine.device_memory_gib if self.here else None
            self.chosen = settled(self.recipe, {**given, name: value}, memory)
            self.show()

    def show(self) -> None:
        """Bring pickers, memory and command up to the choice."""
        with self.lock:
            memory = self.machine.device_memory_gib if self.here else None
            against: dict[str, list[str]] = {}
            for name, picker in self.pickers.items():
                offered = offers(self.recipe, self.chosen, name, memory)
                picker.show(offered, self.chosen[name])
                for value, why in offered.items():
                    if why:
                        against.setdefault(f"{LABELS[name]} {{}}: {why}", []).append(str(value))
            told = [words.replace("{}", ", ".join(values), 1) for words, values in against.items()]
            risk = self.recipe.serve.profiles[self.chosen["profile"]].risk
            self.why.value = html("folded", "what is not on offer, and why", told) + (line(risk, "bad") if risk else "")
            found = choice(self.target.value, self.chosen, self.port.value or 8000, memory)
            self.bar.value = html("budget", found.budget)
            for form, shown in self.texts.items():
                shown.value = html("code", found.forms[form])
            self.report.value = ""  # what was checked was another choice
            self.note.value = line(found.note, "quiet") if found.note else ""
            self.enable()

    def enable(self) -> None:
        """What can be pressed now, and why Launch cannot."""
        away = not (self.here or self.rehearse.value)
        why = f"this machine is no {self.recipe.title}: copy the command, or rehearse it" if away else ""
        self.elsewhere.value = line(why, "quiet") if why else ""
        for button in self.buttons.values():
            button.disabled = bool(self.busy)
        self.buttons["Launch"].disabled = bool(self.busy) or away
        self.buttons["Launch"].tooltip = why or "start this server, or attach to the one that runs so already"
        self.buttons["Stop"].disabled = not self.lease

    def press(self, name: str, _: Any = None) -> None:
        """Do what a button says on a thread of its own, one at a time; Stop may interrupt a launch."""
        with self.lock:
            if name != "Stop":
                self.busy, self.verdict.value, self.stopping = name, "", False
            self.enable()
        threading.Thread(target=self.do, args=(name,), daemon=True).start()

    def do(self, name: str) -> None:
        """One button's work; whatever goes wrong is shown: nobody sees a thread's traceback."""
        run: Run | None = None
        SHOW.set(self.say)
        try:
            if name == "Check":
                self.report.value = html("table", preflight.check(self.recipe, self.parameters()))
            elif name == "Install":
                self.say("installing the serving stack, minutes the first time ...")
                self.say(" · ".join(map(" ".join, serving_stack(self.recipe.stack.install)[1].items())))
            elif name == "Launch":
                run = Run(self.target.value, self.parameters().model_dump())
                self.launch(run)
            elif self.lease:
                self.stopping = True
                self.say(live.stop_all(self.lease))
        except Exception as error:
            words = error.line() if isinstance(error, CookbookError) else f"{type(error).__name__}: {error}"
            self.failed(words, run)
        with self.lock:
            self.busy = self.busy if name == "Stop" else ""
            self.enable()

    def launch(self, run: Run) -> None:
        """The steps of a notebook's run: preflight, stack, weights, tools, server. It outlives the kernel."""
        self.say("looking at this machine ...")
        run.preflight()
        own, target = run.speaking.parameters, run.speaking.target.target
        self.expected = live.expected_start(target, own.model, own.tensor_parallel_size, own.profile)
        run.begin(self.say, lambda *_: None, needed=False)

    def failed(self, words: str, run: Run | None) -> None:
        """Show an error, and what the doctor makes of the server's log; end tool servers that nobody uses."""
        for server in run.tool_servers.servers.values() if run and run.tool_servers else ():
            if live.unused(server.lease):
                stop(server.lease)
        if not self.stopping:
            self.status.value = line(words, "bad")
            log = run and run.folder / "server.log"
            if log and log.exists() and log.stat().st_size:
                self.verdict.value = line("What the doctor reads in the log:") + html("code", diagnose(log).text())

    def say(self, words: str) -> None:
        """Show one line; the empty one of a bar that closed leaves what is there."""
        self.status.value = line(words) if words else self.status.value

    def watch(self) -> None:
        """Look at the server until the panel is closed."""
        while not self.ended.wait(LOOK_S):
            try:
                self.look_at(live.running())
            except Exception as error:
                self.status.value = line(f"cannot look at the server: {type(error).__name__}: {error}", "bad")

    def look_at(self, lease: Lease | None) -> None:
        """Bring status, log and gauges up to a server, also one that another kernel started; None where none runs."""
        with self.lock:
            if (lease and lease.id) != (self.lease and self.lease.id):
                self.lease, self.meter, self.ready, self.gauges.value = lease, live.Meter(), False, ""
                age = datetime.now(UTC) - datetime.fromisoformat(lease.started) if lease else None
                self.progress = StartProgress(time.monotonic() - (age.total_seconds() if age else 0.0))
                self.enable()
        if lease is None:
            return
        self.tail.value = html("code", live.tail(Path(lease.log)), "log")
        if page := live.page(lease):
            if not self.ready:
                self.ready = True
                self.say(
                    f"ready: {lease.model} answers at {lease.base_url} until you stop it, also when this kernel ends"
                )
            self.gauges.value = html("gauges", self.meter.read(page, time.monotonic()))
        elif not (self.ready or self.stopping):
            self.progress.read(Path(lease.log))
            seconds = time.monotonic() - self.progress.began
            self.status.value = html("phases", self.progress.phases, seconds, self.expected)
