"""The requests that do harm: their files, and docs/requests.md made of them."""

from hunt.cases import PAGE, cases, page
from hunt.drawing.draw import spared


def test_the_page_is_made_of_the_cases() -> None:
    assert PAGE.read_text() == page(cases()), "run `python -m hunt.cases`"


def test_the_hunt_leaves_out_the_killers_that_nothing_prevents_and_no_others() -> None:
    for name, case in cases().items():
        known = {spared(one.request()) for one in case.send}
        assert known == ({name} if case.kind == "kill" and not case.prevented else {""}), name
