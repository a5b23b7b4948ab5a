"""The data of the site's command builder: every command of the recipes in every form, each line of text once."""

import json
from typing import Any

from helpers.panel.choice import FORMS
from helpers.recipes import check_parameters, load_model, load_target, target_names
from helpers.recipes.command.forms import render
from maintain.combinations import combinations

PAGE = """# Command builder

Choose your machine, a model, a size and a profile, and copy the command. It is the one that `cookbook command` prints and that
the target's notebook runs; nothing leaves this page.

```{raw} html
<div id="builder"></div>
<div id="builder-forms" role="group" aria-label="form of the command"></div>
<pre id="builder-command" tabindex="0" aria-label="the command"></pre>
<p><button id="builder-copy" type="button">Copy</button> <span id="builder-said" role="status"></span></p>
<script src="_static/builder-data.js"></script>
<script src="_static/builder.js"></script>
```

Sizes of more than two replicas follow the same pattern: `cookbook command TARGET --replicas 4`.
"""


def key_of(parameters: Any, target: str) -> str:
    """A combination as the page looks it up: target/model/tpN/profile/activations/xN."""
    p = parameters
    return f"{target}/{p.model}/tp{p.tensor_parallel_size}/{p.profile}/{p.activations}/x{p.replicas}"


def data() -> dict[str, Any]:
    """`commands`: key -> form -> places in `lines`; `titles`; `defaults` by target and model, `""` for the target's own."""
    lines: dict[str, int] = {}
    commands: dict[str, dict[str, list[int]]] = {}
    for one in combinations():
        model = load_model(one.parameters.model)
        texts = {form: render(form, one.target, model, one.parameters, one.command).rstrip("\n") for form in FORMS}
        commands[one.id] = {
            form: [lines.setdefault(line, len(lines)) for line in text.split("\n")] for form, text in texts.items()
        }
    targets = {name: load_target(name) for name in target_names()}
    defaults = {
        name: {
            model: key_of(check_parameters(target, {"model": model}), name).split("/") for model in ("", *target.models)
        }
        for name, target in targets.items()
    }
    titles = {name: target.title for name, target in targets.items()}
    return {"titles": titles, "defaults": defaults, "lines": [*lines], "commands": commands}


def script() -> str:
    """The data as a script: a page that is opened from a file may not fetch JSON."""
    return "const BUILDER = " + json.dumps(data(), separators=(",", ":"), ensure_ascii=False) + ";\n"
