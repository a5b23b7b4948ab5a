"""What `benchmarks.flow` compares and writes: the notebook's requests without its checks, values that the README knows."""

import ast

from benchmarks.flow import BARS, by_file, counted, merged
from benchmarks.overhead import CPU, requests_of
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
    assert calls(source, "run") == 0, "launch, checks and sweep are left out"
    assert "endpoints.responses(" not in source and "calls.conversation(" not in source


def test_the_record_holds_what_the_readme_shows():
    assert set(BARS) == set(FLOW)


def test_the_seconds_are_pytests_own_and_the_files_are_added_up(tmp_path):
    tiers = "tiers: quick 2 in 1 s · test 1 in 9 s · test-all 0 in 0 s"
    printed = f"...\n{tiers}\nslowest\n== 3 passed, 1 skipped in 12.50s (0:00:12) ==\n"
    assert counted(printed) == (12.5, f"3 passed, 1 skipped; {tiers}")
    both = printed + f"full and measures:\n{tiers}\n1 passed, 2 deselected in 2.50s\n"
    assert counted(both) == (15.0, f"3 passed, 1 skipped; {tiers} + 1 passed, 2 deselected; {tiers}")
    report = tmp_path / "report.xml"
    case = '<testcase classname="tests.{}" name="x" time="{}"/>'
    cases = "".join(
        case.format(*pair) for pair in (("test_a", 1.5), ("test_a", 1), ("drills.test_b", 7), ("test_c", 1))
    )
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    found = [(value.name, value.value, value.detail) for value in by_file([report], "real")]
    assert found == [("tests/drills/test_b.py", 7, "1 tests"), ("tests/test_a.py", 2.5, "2 tests")]
    both_parts = {value.name: value.value for value in by_file([report, report], "full")}
    assert both_parts == {
        "tests/drills/test_b.py, test-all": 14,
        "tests/test_a.py, test-all": 5,
        "tests/test_c.py, test-all": 2,
    }, "both tiers have a row of a file, and one row is of both parts"


def test_a_part_of_it_measured_again_keeps_the_rest(tmp_path):
    def result(**values: float):
        return result_of("flow", "?", [Value(name=n, value=v, unit="s") for n, v in values.items()], {"vllm": "1"})

    path = result(make_run_warm_s=100, make_test_s=900).write(tmp_path)
    found = {value.name: value.value for value in merged(result(make_test_s=700), path).values}
    assert found == {"make_run_warm_s": 100, "make_test_s": 700}
    other = result(make_test_s=1)
    other.machine.cores += 1
    assert {value.name for value in merged(other, path).values} == {"make_test_s"}, "another machine, another record"
