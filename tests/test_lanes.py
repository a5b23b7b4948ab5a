"""The suite's two lanes."""

import pytest
from lanes import SERVER, lane_of, of


def test_every_test_of_the_shared_server_is_in_its_lane(request: pytest.FixtureRequest) -> None:
    """A second lane would start a server of its own, or meet the other's requests in it."""
    items = request.session.items
    asking = [item for item in items if "server" in getattr(item, "fixturenames", ())]
    assert [item.nodeid for item in asking if of(item) != SERVER or lane_of(item.nodeid.partition("::")[0]) != SERVER] == []


def test_a_file_is_in_the_servers_lane_for_its_tests_and_fixtures_alone() -> None:
    assert lane_of("tests/drills/test_drill_requests.py") == SERVER, "tests that ask for it"
    assert lane_of("tests/test_evals_cli.py") == SERVER, "and a fixture"
    for file in ("tests/test_recipes.py", "tests/test_server_life.py", "tests/test_evals.py"):
        assert lane_of(file) == file, "another function may have an argument of that name"
