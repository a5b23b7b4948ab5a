"""What `benchmarks.flow` compares and writes: the notebook's requests without its checks, values that the README knows."""

import ast

from benchmarks.flow import BARS, CPU, merged, requests_of
from benchmarks.result import Value, result_of
from maintain.pages.readme import FLOW


def calls(source: str, name: str) -> int:
    """How often something is called on a name."""
    nodes = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    roots = [ast.unparse(node) for node in nodes]
    return sum(root.startswith(f"{name}.") for root in roots)


def test_every_request_of_the_notebook_is_sent_and_no_check_is_made():
    import nbformat

    cells = [cell.source for cell in nbformat.read(CPU, as_version=4).cells if cell.cell_type == "code"]
    source = requests_of(CPU)
    assert calls(source, "client") == sum(calls(cell, "client") for cell in cells) > 9
    assert source.count("converse(client") == sum(cell.count("converse(client") for cell in cells)
    assert calls(source, "run") == 1 and "run.client()" in source, "launch, checks and sweep are left out"
    assert "endpoints.responses(" not in source and "calls.conversation(" not in source


def test_the_record_holds_what_the_readme_shows():
    assert set(BARS) == set(FLOW)


def test_a_part_of_it_measured_again_keeps_the_rest(tmp_path):
    def result(**values: float):
        return result_of("flow", "?", [Value(name=n, value=v, unit="s") for n, v in values.items()], {"vllm": "1"})

    path = result(make_run_warm_s=100, make_test_s=900).write(tmp_path)
    found = {value.name: value.value for value in merged(result(make_test_s=700), path).values}
    assert found == {"make_run_warm_s": 100, "make_test_s": 700}
    other = result(make_test_s=1)
    other.machine.cores += 1
    assert {value.name for value in merged(other, path).values} == {"make_test_s"}, "another machine, another record"
