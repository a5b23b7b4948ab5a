"""What the panel shows, as HTML: the macros of `panel.html.jinja`, each value escaped and without secrets."""

from pathlib import Path
from typing import Any

import jinja2

from helpers import redact


def _shown(value: Any) -> Any:
    return redact.text(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=jinja2.select_autoescape(["html.jinja"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_shown,
)
_MACROS = TEMPLATES.get_template("panel.html.jinja").module


def html(macro: str, *values: Any) -> str:
    """One macro of the template with its values."""
    return str(getattr(_MACROS, macro)(*values))


def line(words: object, kind: str = "") -> str:
    """One line; `kind` is quiet, bad or good."""
    return html("line", str(words), kind)
