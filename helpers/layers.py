"""The rooms in order: each imports only itself and what stands above it. `tests/test_layers.py` holds every import to it.

The longest name that fits is a module's room: `helpers.tools.text` is a room above `helpers.tools`. What runs inside a
serving stack (`helpers.instack`, `nano.training`) is started as a process and imported by nothing of the workbench.
"""

ROOMS = (
    ("helpers.layers", "this list"),
    ("helpers.redact", "secrets masked in text, data and environments"),
    ("helpers.errors", "the one error type: what, why, what to do"),
    ("helpers.paths", "where things are in a checkout"),
    ("helpers.files", "whole-or-nothing writes, one lock"),
    ("helpers.bytecode", "bytecode of a serving environment, written at install"),
    ("helpers.keys", "API keys asked for, never written"),
    ("helpers.processes", "processes by identity, their groups, ports"),
    ("helpers.progress", "a bar for whoever waits, in a terminal, a notebook and the panel; a child watched"),
    ("helpers.findings", "one fact that was looked at: what was seen, what is needed, the fix; one rendering"),
    ("helpers.logs", "vLLM's log lines: one table of patterns, a line taken apart"),
    (
        "helpers.recipes",
        "targets, models and parameters as typed data; what a server is started with; the memory budget",
    ),
    ("helpers.recipes.command", "recipe + parameters -> a command, and its forms; pure"),
    ("helpers.records", "run records, curves, anchors, claims, the matrix"),
    ("helpers.doctor", "a log -> the first cause and the fix"),
    ("helpers.machine.index", "where packages come from; the bootstrap runs it before anything is installed"),
    ("helpers.machine.stack", "serving environments, installed and found"),
    ("helpers.machine.weights", "checkpoints, fetched and checked"),
    ("helpers.machine.preflight", "what this machine is, and whether a recipe fits it"),
    ("helpers.machine", "facts for the record, the interpreter that holds vLLM, the workbench's own bootstrap"),
    ("helpers.server", "processes: which checkpoint, launch, attach, readiness, replicas, leases, stop"),
    ("helpers.checks", "contracts over HTTP, known answers"),
    ("helpers.bench", "load, roofline, steps, starts"),
    ("helpers.bench.tune", "the flags that matter, searched"),
    ("helpers.tools.text", "text on its way to the model"),
    ("helpers.tools.sandbox", "where model-written Python runs"),
    ("helpers.tools.browser", "pages and the safe way to fetch them"),
    ("helpers.tools", "tool servers, the function-calling loop, the trace"),
    ("helpers.instack.nano", "gpt-oss-nano's geometry, tokenizer and checkpoint (inside a stack)"),
    ("helpers.instack.evals", "the reference's graders (inside the evaluations' stack)"),
    ("helpers.instack", "load client, flags, synthetic weights (inside a stack)"),
    ("helpers.evals", "accuracy: plan, preflight, scores, estimates"),
    ("helpers.plots", "figures over points and records"),
    ("helpers.runs", "a run from install to stop, with tools or without; evaluations; status"),
    ("helpers.panel", "the panel of start_here.ipynb: serve, chat, explore with widgets"),
    ("helpers.pages", "what records say, as notebooks show it: Markdown, tables, answers"),
    ("helpers.cli", "the `cookbook` command"),
    ("maintain.sharing", "a run packed into one file for others; who verified what"),
    ("maintain.studies", "what only pages about measurements show: answers, aims, figures over evidence, starts"),
    ("maintain.batch", "many runs from a plan, side by side; their results in one table, compared"),
    ("maintain.fleet", "servers that stay: replicas behind the router, restarted one by one"),
    ("maintain.sizing", "the GPUs that a load needs, held against measured points"),
    ("maintain.deploy", "the files around servers: what watches them, several nodes, clusters"),
    ("maintain.pages", "notebooks and README written from recipes and records"),
    ("maintain", "a new target, releases, installs, locks, schemas, pages from data: what only a checkout needs"),
    ("nano.domain", "what the test model speaks about"),
    ("nano.training", "its training (inside a stack)"),
    ("nano.evaluation", "its held-out cases over HTTP"),
    ("nano", "its commands"),
    ("benchmarks", "the cookbook measured"),
    ("hunt", "requests that end a server or do it other harm: drawn, sent, made small, kept"),
)
ORDER = {name: place for place, (name, _) in enumerate(ROOMS)}


def room_of(module: str) -> str:
    """The room of a module, '' for none."""
    words = module.split(".")
    names = (".".join(words[:length]) for length in range(len(words), 0, -1))
    return next((name for name in names if name in ORDER), "")


def allowed(importer: str, imported: str) -> bool:
    """Whether a module may import another."""
    return ORDER[room_of(imported)] <= ORDER[room_of(importer)]
