"""The panel of start_here.ipynb: a server with a button, a chat, an explorer of records, in plain ipywidgets.

Whatever a control does is a call that a notebook makes too, and no notebook needs the panel. Callbacks run on a kernel's
other threads: nothing here uses pyplot, and each tab has one lock.
"""

from collections.abc import Callable, Mapping
from typing import Any

_open: list[Any] = []  # the panel on show: a new one ends its threads


def panel(target: str = "", functions: list[Callable] | None = None, more: Mapping[str, Any] | None = None) -> Any:
    """The panel: tabs Serve, Chat and Explore, then `more` widgets by title; one panel at a time in a kernel.

    `target` is chosen first, this machine's recipe unless it is named. The model may call `functions` in the chat (typed
    Python functions, as for a `Toolbox`).
    """
    import ipywidgets as w

    from helpers.machine import preflight
    from helpers.panel.explore import ExploreTab
    from helpers.panel.look import html
    from helpers.panel.serve import ServeTab
    from helpers.panel.talk import TalkTab

    while _open:
        _open.pop().ended.set()
    serve = ServeTab(preflight.detect(), target)
    _open.append(serve)
    tabs = {"Serve": serve, "Chat": TalkTab(functions), "Explore": ExploreTab(serve.target.value), **(more or {})}
    return w.VBox([w.HTML(html("style")), w.Tab([*tabs.values()], titles=[*tabs])])
