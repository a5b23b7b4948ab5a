"""What is generated is up to date: the notebooks from template and recipe, the README's table from a record."""

import json
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import nbformat
import pytest

from helpers.paths import RECORDS, ROOT
from helpers.recipes import check_parameters, load_target, target_names
from helpers.recipes.command.replicas import POLICY
from helpers.records.claims import OTHER_FLAGS, Claim
from helpers.records.curves import curves, newest_of, speed_records, versioned
from helpers.records.matrix import MatrixRow, summaries
from helpers.records.record import RunRecord
from maintain.pages import measured, notebook, overview, readme, sections, study
from maintain.pages.matrix import targets_table
from maintain.pages.notebook import TEMPLATE, keep_outputs, path_of, printed_model, text_of
from maintain.pages.pages import fill
from maintain.pages.publish import cleaned, joined
from maintain.pages.study import from_source
from maintain.studies import machines

SOURCE = "# %% [markdown]\n# # Title\n\n# %%\nx = 1\nprint(x)\n\n# %%\nprint(2)\n"
RENDER = "recipe, records and page differ: `.venv/bin/cookbook render` writes the page anew"


def test_the_cpu_notebook_is_what_its_recipe_renders() -> None:
    assert notebook.path_of("cpu").read_text() == text_of(notebook.render("cpu")), RENDER


def test_the_readme_is_up_to_date() -> None:
    assert readme.README.read_text() == readme.rendered(), RENDER


def test_a_changed_cell_loses_its_output_and_the_others_keep_theirs() -> None:
    old = from_source(SOURCE)
    for count, cell in enumerate(cell for cell in old.cells if cell.cell_type == "code"):
        cell.execution_count = count + 1
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{count}\n")]
    new = keep_outputs(from_source(SOURCE.replace("print(2)", "print(3)")), old)
    code = [cell for cell in new.cells if cell.cell_type == "code"]
    assert code[0].outputs and not code[1].outputs and code[1].execution_count is None


def test_rendering_twice_gives_the_same_bytes() -> None:
    assert text_of(from_source(SOURCE)) == text_of(from_source(SOURCE))


def test_a_readme_block_is_replaced_and_nothing_else() -> None:
    text = "a\n<!-- begin:x -->\nold\n<!-- end:x -->\nb\n"
    assert readme.with_block(text, "x", "new") == "a\n<!-- begin:x -->\nnew\n<!-- end:x -->\nb\n"


def markdown(target: str) -> str:
    cells = nbformat.read(path_of(target), as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def code(target: str) -> str:
    cells = nbformat.read(path_of(target), as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def test_a_change_of_layout_alone_keeps_the_output() -> None:
    old = from_source(SOURCE)
    for cell in old.cells[1:]:
        cell.execution_count, cell.outputs = 1, [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    new = keep_outputs(from_source(SOURCE.replace("x = 1\n", "x = 1  # why\n\n\n")), old)
    assert all(cell.outputs for cell in new.cells[1:])


@pytest.mark.parametrize("name", target_names())
def test_a_page_tells_its_own_machines_limits_sizes_and_backends(name: str) -> None:
    target, text = load_target(name), markdown(name)
    for limit in target.known_limits:
        row = next(line for line in text.splitlines() if line.startswith(f"| {sections.cell(limit.what)} |"))
        for flag, setting in limit.avoid.args.items():
            assert all(word in row for word in setting.words(flag)), (flag, row)
        assert all(variable in row for variable in limit.avoid.env)
    for model, offered in target.models.items():
        assert re.search(rf"^\| {model} \| .*\*\*{offered.default}\*\* \| {re.escape(offered.why)} \|$", text, re.M)
    for wanted in filter(None, (target.expect.attention, target.expect.moe)):
        assert all(f"`{one}`" in text for one in wanted.split("|"))
    assert "run.quick_gate()" in code(name) and "../topics/builtin_tools.ipynb" in text


@pytest.mark.parametrize("name", target_names())
def test_a_page_opens_with_its_command_and_what_it_was_measured_at(name: str) -> None:
    """Who wants the command alone need not scroll; who wants it in docker opens a fold."""
    target = load_target(name)
    parameters = check_parameters(target)
    first = nbformat.read(path_of(name), as_version=4).cells[0].source
    for form in ("shell", "docker"):
        assert f"```bash\n{sections.command(target, parameters, form)}\n```" in first, RENDER
    assert target.stack.image in first and measured.headline(target, parameters.model) in first
    assert ("**Not run on this machine yet.**" in first) == (measured.newest_speed(target, parameters.model) is None)


@pytest.mark.parametrize("name", target_names())
def test_a_pages_parameters_are_the_values_of_its_run(name: str) -> None:
    namespace: dict = {}
    cells = nbformat.read(path_of(name), as_version=4).cells
    exec(next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), namespace)
    values = {key: value for key, value in namespace.items() if not key.startswith("__")}
    wanted = check_parameters(load_target(name)).model_dump()
    assert {**wanted, **values, "run_dir": ""} == wanted
    assert values["run_dir"] is None and values["weights"] in ("hub", "nano") and values["tensor_parallel_size"] > 0


def test_every_link_on_a_page_leads_to_a_heading() -> None:
    headings = {line.lstrip("# ").replace(" ", "-") for line in markdown("cpu").splitlines() if line.startswith("#")}
    links = re.findall(r"\]\(#([^)]+)\)", markdown("cpu"))
    assert len(links) > 10 and set(links) <= headings


def test_the_template_is_a_notebook_of_plain_python() -> None:
    """It opens in JupyterLab: Jinja stands in its Markdown cells alone."""
    template = nbformat.read(TEMPLATE, as_version=4)
    for cell in template.cells:
        if cell.cell_type == "code":
            compile(cell.source, "<cell>", "exec")
            assert "{{" not in cell.source and "{%" not in cell.source
    assert any("{{ headline }}" in cell.source for cell in template.cells)


def test_a_text_printed_in_pieces_is_kept_as_one() -> None:
    piece = {"output_type": "stream", "name": "stdout"}
    shown = {"output_type": "display_data", "data": {}, "metadata": {}}
    found = joined([{**piece, "text": "The|"}, {**piece, "text": ["sky", "|"]}, shown, {**piece, "text": "."}])
    assert [output.get("text") for output in found] == ["The|sky|", None, "."]


def test_a_published_page_names_no_place_of_the_machine_that_ran_it() -> None:
    printed = (
        "in /opt/gcc/bin/gcc\n/home/ann/kit/ld\nsee /tmp/c/run/server.log, /dev/shm/x, /mnt/data/a, http://h/opt/y\n"
    )
    html = {"text/html": "<td>/opt/gcc/bin/gcc</td>"}
    ran = from_source(SOURCE)
    first = next(cell for cell in ran.cells if cell.cell_type == "code")
    first.outputs = [nbformat.v4.new_output("stream", text=printed), nbformat.v4.new_output("display_data", html)]
    found = cleaned(ran, from_source(SOURCE), {"/tmp/c/run": "runs/run"})
    text, shown = next(cell for cell in found.cells if cell.cell_type == "code").outputs
    assert text.text == "in gcc\nld\nsee runs/run/server.log, /dev/shm/x, /mnt/data/a, http://h/opt/y\n"
    assert shown.data["text/html"] == "<td>gcc</td>"


@pytest.mark.parametrize("name", target_names())
def test_blackwells_choice_is_a_parameter_with_both_risks_and_nobody_elses(name: str) -> None:
    target = load_target(name)
    assert ("activations: str" in code(name)) == bool(target.serve.activations)
    for choice in target.serve.activations.values():
        assert choice.risk in markdown(name)


def test_the_b_machines_have_the_choice() -> None:
    assert {n for n in target_names() if load_target(n).serve.activations} >= {"b200", "gb200", "b300"}


@pytest.mark.parametrize("name", target_names())
def test_a_page_names_no_file_that_is_not_there(name: str) -> None:
    for path in re.findall(r"`((?:recipes|helpers|docs|benchmarks|notebooks)/[\w./-]+)`", markdown(name)):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\((\.\./[^)#]+)\)", markdown(name)):
        assert (path_of(name).parent / link).exists(), link


def test_the_architecture_is_the_recipes() -> None:
    for name in target_names():
        target = load_target(name)
        assert ("aarch64" in measured.machine_needs(target)) == (target.stack.architecture == "aarch64")


def test_the_time_names_what_ran() -> None:
    """The H200 page's recorded run had synthetic weights: gpt-oss-nano answered, the model itself was measured."""
    record = measured.latest_passed("h200")
    told = measured.time_needed(record)
    assert measured.served(record) in told and record.weights in told and measured.time_needed(None) == "never run here"


@pytest.mark.parametrize("name", target_names())
def test_a_page_says_whose_outputs_it_shows(name: str) -> None:
    """The newest record of a machine may be of another model than the page's outputs are."""
    printed = printed_model(name)
    said = re.findall(r"The outputs below come from the run of \S+: (\S+),", markdown(name))
    assert said == ([printed] if printed else []) and bool(printed) == (measured.latest_passed(name) is not None)
    if printed:
        assert f"with {printed}, " in measured.time_needed(measured.latest_passed(name, printed))


def test_the_start_of_another_profile_is_told_beside_the_pages_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    eager = measured.latest_passed("cpu")
    compiled = eager.model_copy(
        update={
            "serving": eager.serving.model_copy(update={"profile": "throughput"}),
            "startup_s": {"total": 82.4},
            "started": eager.started - timedelta(hours=1),
            "finished": eager.finished - timedelta(hours=1),
        }
    )
    larger = eager.machine.model_copy(update={"cores": 96})
    elsewhere = compiled.model_copy(update={"machine": larger, "startup_s": {"total": 9.0}})
    monkeypatch.setattr(measured, "RECORDS", tmp_path)
    bare = compiled.model_copy(
        update={"serving": eager.serving.model_copy(update={"profile": "bare", "variant": "bare vllm serve"})}
    )
    for name, record in {"1": compiled, "2": eager, "3": elsewhere, "4": bare}.items():
        (tmp_path / "cpu").mkdir(exist_ok=True)
        (tmp_path / "cpu" / f"{name}.json").write_text(record.model_dump_json())
    assert measured.other_starts(eager) == {"throughput": 82.4}
    assert measured.time_needed(measured.latest_passed("cpu")).endswith("; with profile throughput the start took 82 s")


def test_no_recipe_claims_what_no_record_holds() -> None:
    for path in [*ROOT.glob("recipes/targets/*.yaml"), ROOT / "docs" / "seed.md"]:
        assert "see the records" not in path.read_text(), path.name


CLAIM = Claim(
    "h200",
    "gpt-oss-120b",
    1,
    "throughput",
    "throughput",
    "synthetic",
    "0.25.1",
    "passed",
    "6 points",
    date(2026, 11, 22),
    "x.json",
    False,
)


def test_the_table_tells_older_flags_of_speeds_and_of_checks() -> None:
    row = MatrixRow("h200", "NVIDIA H200", "gpt-oss-120b", 1, "throughput", True, "parsed", [CLAIM])
    (old,) = summaries([row])
    assert old.measured[0].startswith("gpt-oss-120b TP1: synthetic weights") and old.measured[0].endswith(OTHER_FLAGS)
    (new,) = summaries([replace(row, claims=[replace(CLAIM, same_flags=True)])])
    assert OTHER_FLAGS not in new.measured[0]
    checked = replace(CLAIM, group="endpoints", checks="2 contracts")
    (both,) = summaries([replace(row, claims=[checked, replace(checked, group="streaming", same_flags=True)])])
    told = [line.endswith(OTHER_FLAGS) for line in both.held]
    assert told == [False, True] and "streaming" in both.held[0], "today's flags are not lumped with others"
    (again,) = summaries([replace(row, claims=[checked, replace(checked, same_flags=True)])])
    assert len(again.held) == 1 and OTHER_FLAGS not in again.held[0], "today's flags speak"


def test_every_page_has_the_matrix_of_today() -> None:
    assert overview.START.read_text() == text_of(overview.rendered()), RENDER


def test_an_old_matrix_is_seen_and_replaced() -> None:
    old = nbformat.read(overview.START, as_version=4)
    (cell,) = [cell for cell in old.cells if "from-records" in cell.metadata.get("tags", [])]
    today = cell.outputs[0].data["text/markdown"]
    cell.outputs[0].data["text/markdown"] = today.replace("never run here", "passed 2020-01-01")
    assert fill(old).cells[old.cells.index(cell)].outputs[0].data["text/markdown"] == today, RENDER


FIGURE = """# %% [markdown]
# # Title

# %% tags=["from-records"]
from helpers.plots.recorded import pareto

pareto("h200", "gpt-oss-20b")
"""


def test_a_figure_is_drawn_anew_only_when_its_numbers_have_changed() -> None:
    drawn = fill(from_source(FIGURE))
    output = drawn.cells[1].outputs[0]
    assert output.data["image/png"].startswith("iVBOR") and "TP1" in output.data["text/plain"]
    output.data["image/png"] = "another version drew this"
    assert fill(drawn).cells[1].outputs[0].data["image/png"] == "another version drew this"
    output.data["text/plain"] = output.data["text/plain"].replace("12,897", "99,999")
    assert fill(drawn).cells[1].outputs[0].data["image/png"].startswith("iVBOR")


def test_a_target_page_draws_one_figure_and_its_study_all() -> None:
    drawn = [
        cell.source
        for cell in nbformat.read(path_of("h200"), as_version=4).cells
        if "from-records" in cell.metadata.get("tags", [])
    ]
    assert len(drawn) == 1 and 'pareto("h200", "gpt-oss-120b", newest=True)' in drawn[0]
    assert "[studies/h200.ipynb](../studies/h200.ipynb)" in markdown("h200")
    said = measured.sentences(load_target("h200"), "gpt-oss-120b", speed_records("h200"))
    assert said in markdown("h200") and 3 <= said.count(". ") <= 4
    for model, words in (
        ("gpt-oss-120b", "still gains at {} requests in flight (1,024 tokens in, 1,024 out): {:,.0f} output tok/s"),
        ("gpt-oss-20b", "the most was {1:,.0f} in all at {0}."),
    ):
        current = newest_of([record for record in speed_records("h200") if record.model == model])
        top = max(curves(current, model, 1024, 1024)["TP1"], key=lambda point: point.output_tok_s)
        told = measured.sentences(load_target("h200"), model, speed_records("h200"))
        assert words.format(top.concurrency, top.output_tok_s) in told, "a knee alone is not the most"


@pytest.mark.parametrize("name", study.studied())
def test_a_study_is_what_the_records_say(name: str) -> None:
    assert study.path_of(name).read_text() == text_of(study.render(name)), RENDER


def test_every_figure_says_what_it_shows() -> None:
    for path in [path_of(name) for name in target_names()] + [study.path_of(name) for name in study.studied()]:
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    assert len(output.metadata["image/png"]["alt"]) > 40, (path.name, cell.source)


def test_the_h200_study_draws_both_models_and_names_what_was_not_taken() -> None:
    records = speed_records("h200")
    assert {record.model for record in records} == {"gpt-oss-20b", "gpt-oss-120b"}
    shown = [
        output.data["text/plain"]
        for cell in nbformat.read(study.path_of("h200"), as_version=4).cells
        if "from-records" in cell.metadata.get("tags", [])
        for output in cell.outputs
    ]
    # four figures of throughput (two lengths), the answers, two of routing, dummy weights
    assert len(shown) == 8
    assert any("1.20x per GPU, 1.28x per user" in text for text in shown), "TP2 against TP1 at equal load"
    assert any("1.57x per GPU, 1.48x per user" in text for text in shown), "TP4 too"
    for model in ("gpt-oss-20b", "gpt-oss-120b"):
        for lengths in measured.LENGTHS:
            for curve in versioned(records, model, *lengths).values():
                top = max(point.output_tok_s_per_gpu for point in curve)
                assert any(model in text and f"{top:,.0f}" in text for text in shown)
    open_ = "; ".join(measured.not_taken(load_target("h200"), records))
    page = nbformat.read(study.path_of("h200"), as_version=4).cells[-1].source
    for missing in (
        "gpt-oss-20b at TP2, TP4, TP8",
        "gpt-oss-safeguard-20b at TP1",
        "any reply of gpt-oss-20b or gpt-oss-120b or gpt-oss-safeguard-20b or gpt-oss-safeguard-120b itself",
        "the latency profile",
    ):
        assert missing in open_, missing
    assert all(f"- {one}" in page for one in measured.not_taken(load_target("h200"), records))
    assert (
        "TP1 at 8" not in open_  # both models have 8,192 tokens with the pinned vLLM
        and "TP4 at 1,024/1,024 tokens with vLLM 0.32.0" in open_
        and "TP2 at" not in open_.split(";", 1)[1]
    )
    assert not any(taken in open_ for taken in ("which the recipe installs", "replicas", "async", "dummy"))
    assert "share of experts" not in open_


def test_what_was_taken_is_no_longer_named_as_missing() -> None:
    raw = json.loads((RECORDS / "h200" / "20261122-120b-tp1.json").read_text())
    points = [{**point, "output_tok_s_per_gpu": point["output_tok_s"] / 2} for point in raw["throughput"]]
    long = [{**point, "input_tokens": 8192} for point in points[:3]]
    raw |= {"serving": {**raw["serving"], "tensor_parallel_size": 2}, "throughput": points + long}
    raw["argv"] = [*raw["argv"], "--tensor-parallel-size", "2"]
    off = {**raw, "serving": {**raw["serving"], "variant": "async scheduling off"}}
    records = [*speed_records("h200"), *(RunRecord.model_validate(one) for one in (raw, off))]
    open_ = measured.not_taken(load_target("h200"), records)
    assert "gpt-oss-20b at TP2, TP4, TP8" in open_ and not any(line.startswith("gpt-oss-120b TP2") for line in open_)
    first = [r for r in speed_records("h200") if f"{r.finished:%d}" == "22" and r.model == "gpt-oss-120b"]
    few = measured.not_taken(load_target("h200"), first)
    assert "gpt-oss-120b at TP2, TP4, TP8" in few and "gpt-oss-120b TP1 at 8,192/1,024 tokens" in few
    assert not any("replicas" in line for line in [*few, *open_]), "copies behind the router of today are evidence too"


def test_copies_of_a_campaign_are_no_longer_missing_with_the_policy_that_they_ran_with() -> None:
    assert measured.replicas_open(set()) == "replicas, several servers behind one address"
    assert "copies above ran with `round_robin`" in measured.replicas_open({"round_robin"})
    assert measured.replicas_open({"round_robin", POLICY}) == ""
    assert measured.replicas_open({"round_robin"}) in measured.not_taken(load_target("h100"), speed_records("h100"))


def flow(folder: Path, cpu: str = "", **values: float) -> Path:
    entries = [
        {"name": name, "value": value, "unit": "s", "bar": 150.0, "detail": ""} for name, value in values.items()
    ]
    (folder / "flow.json").write_text(json.dumps({"benchmark": "flow", "machine": {"cpu": cpu}, "values": entries}))
    return folder


def test_the_readmes_numbers_say_what_was_measured_and_what_was_not(tmp_path: Path) -> None:
    path, record = measured.newest_passed("cpu")
    bare = readme.numbers(record, path.name, tmp_path)
    assert bare.count("not measured") == 1 + len(readme.FLOW)
    assert "(on another)" in readme.numbers(record, path.name, flow(tmp_path, "another", make_test_s=1.0))
    same = flow(tmp_path, record.machine.cpu, make_run_warm_s=120.4, make_test_s=1000.0)
    table = readme.numbers(record, path.name, same)
    assert " (on " not in table
    assert "| `make run`, everything installed | 120 s (bar 150 s) |" in table
    assert "1,000 s (bar 150 s, **missed**)" in table and table.count("not measured") == len(readme.FLOW) - 1


def test_the_readme_counts_a_skipped_contract_apart() -> None:
    _, record = measured.newest_passed("cpu")
    last = record.contracts[-1]
    skipped = last.model_copy(update={"name": "evals.quick", "state": "skipped", "why": "nano"})
    held = len([contract for contract in record.contracts if contract.state == "passed"])
    told = readme.contracts_passed(record.model_copy(update={"contracts": [*record.contracts, skipped]}))
    assert told.startswith(f"{held} of {held} (skipped: ") and "evals.quick" in told


def test_a_figure_says_whose_weights_and_which_vllm_it_shows(tmp_path: Path) -> None:
    from helpers.runs.run import Run

    for target, given, said in (("h200", {"model": "gpt-oss-20b", "weights": "synthetic"}, True), ("cpu", {}, False)):
        run = Run(target, {**given, "run_dir": str(tmp_path / target), "port": 0})
        run.points, run.versions = measured.latest_passed(target).throughput, {"vllm": "0.25.1"}
        title = run.figure().get_suptitle()
        assert ("synthetic weights, vLLM 0.25.1" in title) == said, title


def test_the_readmes_figure_has_its_numbers_as_text() -> None:
    """The text decides when the picture is drawn anew."""
    text = readme.README.read_text()
    assert readme.figure_block() in text and readme.FIGURE.read_bytes().startswith(b"\x89PNG")
    assert "output tok/s per GPU" in readme.figure_block()


def test_the_readmes_table_has_a_row_for_what_ran_and_folds_the_rest() -> None:
    table = targets_table()
    open_, folded = table.split("<details>")
    for name in target_names():
        ran = measured.newest_passed(name) is not None or bool(speed_records(name))
        assert (f"targets/{name}.ipynb" in open_) == ran and (f"targets/{name}.ipynb" in folded) != ran


def test_the_command_lines_reference_is_todays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from maintain.pages import cli

    text = cli.rendered()
    assert cli.PAGE.read_text() == text, RENDER
    assert "## `cookbook tools`" in text and "--tensor-parallel-size" in text
    assert not re.search(r"^\* `[\w-]+`: .*\.\.\.$", text, re.M), "no sentence is cut off"
    monkeypatch.setattr(cli, "PAGE", tmp_path / "cli.md")
    # the first only: the pages after it cost seconds
    found = next(text for path, text in overview.drifted() if path == tmp_path / "cli.md")
    assert found == text, "a page that is not there has drifted"


def test_a_study_sets_one_machine_beside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point by point of one vLLM; both pages show one table, and releases are not mixed."""
    table = machines.machines("h100")
    own, theirs = (newest_of(speed_records(name)) for name in ("h100", "h200"))
    rows = machines.common(own, theirs)
    (_, one, two), *_ = rows
    ratio = two.output_tok_s_per_gpu / one.output_tok_s_per_gpu
    assert f"{one.output_tok_s_per_gpu:,.0f}, {one.tok_s_per_user:,.1f} | {two.output_tok_s_per_gpu:,.0f}" in table
    assert f"{ratio:.2f}x per GPU" in table and table == machines.machines("h200")
    assert table.count("\n| gpt-oss") == len(rows) >= 5 and machines.machines("cpu") == ""
    older = [record for record in speed_records("h200") if record.release != own[0].release]
    monkeypatch.setattr(machines, "speed_records", lambda name: own if name == "h100" else older)
    assert machines.machines("h100") == ""
