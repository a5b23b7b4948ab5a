"""The site's own pages: the entrance, one for each target with its command in tabs, the records with their figures."""

from pathlib import Path

from helpers.errors import CookbookError
from helpers.pages.markdown import row, table
from helpers.panel.choice import FORMS
from helpers.paths import RECORDS
from helpers.plots.recorded import Recorded, pareto
from helpers.recipes import Parameters, Target, check_parameters, load_target, target_names
from helpers.records.age import pin
from helpers.records.curves import LENGTHS, load_records
from maintain.pages import measured, sections

LANGUAGES = {"shell": "bash", "docker": "bash", "compose": "yaml", "k8s": "yaml"}


def target_page(name: str) -> str:
    """A target: what it is, its sizes, its commands in tabs for every model, its known limits."""
    target = load_target(name)
    parts = [
        f"# {target.title}",
        target.summary,
        measured.headline(target, target.defaults.model),
        f"The recipe pins vLLM {target.stack.vllm} ({pin(name)}). Run it step by step in "
        f"[its notebook](../notebooks/targets/{name}.ipynb).",
    ]
    parts += ["## Sizes", sections.sizes(target), "## Commands"]
    parts.append(
        f"Other sizes and profiles: the [command builder](../builder.md), or `cookbook command {name} --help`."
    )
    for model in target.models:
        parts += [f"### {model}", tabs(target, check_parameters(target, {"model": model}))]
    parts += ["## Backends", sections.backends(target)]
    if target.known_limits:
        parts += ["## Known limits", sections.limits(target)]
    parts.append(f"```{{toctree}}\n:hidden:\n\n../notebooks/targets/{name}\n```")
    return "\n\n".join(parts) + "\n"


def tabs(target: Target, parameters: Parameters) -> str:
    """The command in tabs; a tab that is chosen is chosen everywhere."""
    items = [
        f":::{{tab-item}} {title}\n:sync: {form}\n\n```{LANGUAGES[form]}\n{sections.command(target, parameters, form)}\n```\n:::"
        for form, title in FORMS.items()
    ]
    return "::::{tab-set}\n:sync-group: form\n\n" + "\n".join(items) + "\n::::"


def records_page(pictures: Path) -> str:
    """Every committed run record, and the figures over those of full-size models; the pictures are written beside it."""
    parts = ["# Records", "Every figure and every *verified* comes from one of these files in `recipes/records/`."]
    for name in target_names():
        records = load_records(name) if (RECORDS / name).is_dir() else []
        if not records:
            continue
        rows = [
            row(
                f"{r.finished:%Y-%m-%d}",
                r.model,
                r.serving.label,
                r.serving.profile,
                r.weights,
                r.versions.get("vllm", "?"),
                measured.aged(r),
                r.state,
                len(r.throughput),
            )
            for r in records
        ]
        head = ["day", "model", "layout", "profile", "weights", "vLLM", "age", "state", "points"]
        parts += [f"## {load_target(name).title}", table(head, rows)]
        for model in dict.fromkeys(r.model for r in records):
            for lengths in LENGTHS:
                if figure := drawn(name, model, *lengths):
                    file = pictures / f"{name}-{model}-{lengths[0]}.png"
                    picture, words = figure._repr_png_()
                    file.write_bytes(picture)
                    parts.append(f"![{words['alt'].replace(']', ')')}](pictures/{file.name})")
    return "\n\n".join(parts) + "\n"


def drawn(name: str, model: str, inputs: int, outputs: int) -> Recorded | None:
    """The figure of throughput against speed per user; None where too little was measured."""
    try:
        figure = pareto(name, model, inputs, outputs)
        return figure if figure.figure else None
    except CookbookError:
        return None


INDEX = """
```{toctree}
:hidden:
:caption: Begin

notebooks/start_here
builder
targets/index
records
```

```{toctree}
:hidden:
:caption: Topics
:glob:

notebooks/topics/*
```

```{toctree}
:hidden:
:caption: Measured
:glob:

notebooks/studies/*
```

```{toctree}
:hidden:
:caption: Behind it
:glob:

docs/*
CONTRIBUTING
CHANGELOG
```

```{toctree}
:hidden:
:caption: 中文

README.zh
notebooks/start_here.zh
```
"""


def targets_index() -> str:
    """The list of targets."""
    lines = [f"- [{load_target(name).title}]({name}.md): {load_target(name).summary}" for name in target_names()]
    tree = "\n".join(["```{toctree}", ":hidden:", "", *target_names(), "```"])
    return "\n\n".join(["# Targets", "\n".join(lines), tree]) + "\n"
