"""The tab that talks to the served model."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import ipywidgets as w

from helpers.errors import CookbookError
from helpers.panel import chat, live
from helpers.panel.look import html, line
from helpers.tools.functions import Toolbox

SHOWN_S = 0.1  # between two pictures of a growing answer
TEMPERATURES = {"the model's": None, "0: the same answer each time": 0.0}  # a picker shows the value None as nothing


def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict:
    """Get the current weather in a city."""
    return {"temperature": {"Paris": 18, "Tokyo": 25, "Oslo": 7}.get(city, 21), "unit": unit}


def add(a: int, b: int) -> dict:
    """Add two numbers."""
    return {"result": a + b}


class TalkTab(w.VBox):
    """A conversation with the server that runs. `functions` are offered to the model as tools."""

    def __init__(self, functions: list[Callable] | None = None) -> None:
        self.toolbox, self.ending = Toolbox(functions or [get_weather, add]), threading.Event()
        self.history: list[dict[str, str]] = []
        self.shown: list[str] = []
        wide = w.Layout(width="100%", max_width="860px")
        self.system = w.Textarea(placeholder="system prompt (optional)", description="system", rows=1, layout=wide)
        self.effort = w.Dropdown(
            options=["low", "medium", "high"], value="medium", description="effort", layout=w.Layout(width="190px")
        )
        tools = [("none", ""), (f"functions: {', '.join(self.toolbox.functions)}", "functions")]
        self.tools = w.Dropdown(options=[*tools, ("built-in python and browser", "builtin")], description="tools")
        self.temperature = w.Dropdown(options=[*TEMPERATURES], description="temperature")
        self.temperature.style.description_width = "initial"
        self.pages, self.code = w.HTML(), w.HTML()
        self.question = w.Textarea(placeholder="ask the model", description="you", rows=2, layout=wide)
        buttons = {"Ask": self.ask, "Stop answer": lambda _: self.ending.set()}
        buttons |= {"New chat": self.clear, "Show the code": self.reveal}
        self.buttons = {name: w.Button(description=name) for name in buttons}
        for name, pressed in buttons.items():
            self.buttons[name].on_click(pressed)
        self.buttons["Ask"].button_style, self.buttons["Stop answer"].disabled = "primary", True
        controls, row = w.HBox([self.effort, self.tools, self.temperature]), w.HBox([*self.buttons.values()])
        super().__init__([controls, self.system, self.pages, self.question, row, self.code])

    def asked(self, model: str) -> chat.Asked:
        """What the controls say, as a request's settings."""
        toolbox = self.toolbox if self.tools.value == "functions" else None
        builtin = tuple(chat.BUILTIN) if self.tools.value == "builtin" else ()
        words, temperature = self.system.value.strip(), TEMPERATURES[self.temperature.value]
        return chat.Asked(model, self.effort.value, words, toolbox, builtin, temperature=temperature)

    def ask(self, _: Any = None) -> None:
        """Send the question; the answer streams in on a thread of its own."""
        if question := self.question.value.strip():
            self.buttons["Ask"].disabled, self.buttons["Stop answer"].disabled = True, False
            self.ending.clear()
            self.history.append({"role": "user", "content": question})
            self.shown.append(html("user", question))
            self.pages.value = "".join([*self.shown, html("answer", chat.Answer())])
            self.question.value = ""
            threading.Thread(target=self.answer, args=(self.history, self.shown), daemon=True).start()

    def answer(self, history: list[dict[str, str]], shown: list[str]) -> None:
        """Stream one answer into the page of its conversation; after an error the question may be asked again."""
        found, last, why = chat.Answer(), 0.0, ""
        try:
            lease = live.running()
            if lease is None:
                raise CookbookError("no server runs", do="press Launch in the first tab")
            from openai import OpenAI  # seconds the first time, and no other tab needs it

            key = os.environ.get("VLLM_API_KEY") or "none"
            client = OpenAI(base_url=f"{lease.base_url}/v1", api_key=key, max_retries=0)
            for found in chat.ask(client, self.asked(lease.model), history, self.ending):
                if time.monotonic() - last > SHOWN_S and shown is self.shown:
                    last = time.monotonic()
                    self.pages.value = "".join([*shown, html("answer", found)])
            history.append({"role": "assistant", "content": found.text})
        except Exception as error:  # ours, or the SDK's: a refused connection, a wrong request
            why = line(error if isinstance(error, CookbookError) else f"{type(error).__name__}: {error}", "bad")
            found.state, self.question.value = "broken off", history.pop()["content"]
        shown.append((html("answer", found) if found.steps else "") + why)
        self.pages.value = "".join(self.shown)
        self.buttons["Ask"].disabled, self.buttons["Stop answer"].disabled = False, True

    def clear(self, _: Any = None) -> None:
        """Forget the conversation; an answer under way ends."""
        self.ending.set()
        self.history, self.shown, self.pages.value, self.code.value = [], [], "", ""

    def reveal(self, _: Any = None) -> None:
        """Show the cell of SDK code that asks the last question."""
        lease = live.running()
        said = [message["content"] for message in self.history if message["role"] == "user"]
        question = self.question.value.strip() or (said[-1] if said else "What is the capital of France?")
        address, model = (lease.base_url, lease.model) if lease else ("http://127.0.0.1:8000", "gpt-oss-20b")
        self.code.value = html("verbatim", chat.code(self.asked(model), address, question))
