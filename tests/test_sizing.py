"""`cookbook size`: held against measured points that it was not fitted on, and against what it may not say."""

import threading
from dataclasses import replace

import pytest

from helpers.errors import CookbookError, UsageError
from helpers.recipes import target_names
from maintain.sizing.host import crowded, host_us, several
from maintain.sizing.host import predicted as beside_others
from maintain.sizing.million import PAGE as MILLION
from maintain.sizing.million import Day, answer
from maintain.sizing.million import rendered as million
from maintain.sizing.page import LONG, PAGE, held_out, layout_of, predicted, rendered
from maintain.sizing.plan import PRICES, Demand, load_prices, size
from maintain.sizing.queueing import bursts, simulate
from maintain.sizing.speed import LENGTHS, Layout, Shares, at_size, layouts
from maintain.sizing.tab import SizeTab

BAR = 0.16  # what docs/sizing.md says
MEASURED = [
    pytest.param(record, point, id=f"{record.model}-{record.serving.label}-{point.concurrency}")
    for record, point in held_out()
]


@pytest.mark.parametrize(("record", "point"), MEASURED)
def test_long_prompts_come_out_as_they_were_measured(record, point) -> None:
    """Every point at 8,192 tokens in: fitted on none of them. A steady state and the simulated server agree with it."""
    tpot, rate = predicted(record, point)
    assert tpot == pytest.approx(point.tpot_ms.p50, rel=BAR)
    assert rate == pytest.approx(point.output_tok_s, rel=BAR)


def test_there_are_points_to_hold_it_against_and_they_could_refuse_it() -> None:
    assert len(MEASURED) >= 9 and LENGTHS != LONG
    record, point = MEASURED[-1].values
    own = layout_of(record)
    slower = Shares(own.target, own.model, own.size, tuple((count, share / 1.4) for count, share in own.shares.points))
    wrong = Layout(own.target, own.model, own.size, slower)
    assert wrong.tpot_ms(point.concurrency, *LONG) != pytest.approx(point.tpot_ms.p50, rel=BAR)


def test_the_page_is_todays() -> None:
    assert PAGE.read_text(encoding="utf-8") == rendered(), "run `cookbook render`"


def test_every_request_is_served_whole_and_bursts_are_slower_than_their_mean() -> None:
    layout = next(one for one in layouts("gpt-oss-120b") if (one.target, one.size) == ("h200", 1))
    rate = 64 / (500 * layout.tpot_ms(64, 2000, 500) / 1e3)
    calm, wild = (simulate(layout, bursts(rate, 400, 2000, 500, shape)) for shape in (100.0, 0.1))
    assert len(calm.done) == len(wild.done) == 400 and {one.written for one in wild.done} == {500}
    assert wild.tok_s_per_user(5) < calm.tok_s_per_user(5)
    assert all(one.arrived < one.first < one.last for one in wild.done)
    assert simulate(layout, []).done == []


def test_more_users_and_more_speed_want_more_gpus() -> None:
    def gpus(users: int, speed: float) -> dict[str, int]:
        return {
            one.layout.target: one.gpus for one in size(Demand(users, 2000, 500, speed), "gpt-oss-120b", steady=True)
        }

    few, many, fast = gpus(50, 30), gpus(1000, 30), gpus(50, 100)
    assert {"h200", "h100", "mi300x"} <= few.keys() and "cpu" not in few
    assert all(many[name] >= few[name] for name in few) and many["h200"] > few["h200"]
    assert all(fast[name] >= few[name] for name in fast)
    with pytest.raises(CookbookError, match="no target can be sized for gpt-oss-120b at 5000 tok/s"):
        size(Demand(1, 2000, 500, 5000), "gpt-oss-120b", steady=True)


def test_a_speed_says_where_it_comes_from() -> None:
    found = {(one.target, one.size): one.source for one in layouts("gpt-oss-120b")}
    assert found["h200", 4] == "records of h200 TP4, vLLM 0.25.1"
    assert (
        found["h100", 2] == "records of h100 TP2, vLLM 0.32.0"
        and "share of h100 TP2, vLLM 0.32.0: not" in found["b200", 2]
    )


def test_a_size_that_did_not_run_takes_the_loss_of_a_machine_where_it_did() -> None:
    """A share carried over from TP2 to TP4 said that H100 needs half the GPUs of H200, whose TP4 ran and lost."""
    found = {(one.target, one.size): one.shares for one in layouts("gpt-oss-120b")}
    lost = found["h200", 4].at(256) / found["h200", 2].at(256)
    assert lost < 0.9 and not found["h100", 2].split and not found["h200", 4].split
    assert found["h100", 4].at(256) == pytest.approx(found["h100", 2].at(256) * lost)
    source = next(one.source for one in layouts("gpt-oss-120b") if (one.target, one.size) == ("h100", 4))
    assert "share of h100 TP2, vLLM 0.32.0, TP4 over TP2 of h200, vLLM 0.25.1: not measured here" in source
    assert at_size(found["h100", 2], 4, [found["h100", 2], found["h100", 1]]) == found["h100", 2], "nobody else ran it"


def test_an_estimate_is_marked_and_a_record_is_not() -> None:
    rows = {one.layout.target: one.cells({}) for one in size(Demand(500, 2000, 500, 30), "gpt-oss-120b", steady=True)}
    assert rows["b200"][2].startswith("~") and "not measured here" in rows["b200"][-1]
    assert rows["h200"][2].isdigit() and rows["h200"][-1].startswith("records of h200")


def test_prices_are_the_users_own(tmp_path) -> None:
    assert load_prices() == {} and {*map(str, target_names())} - {"cpu"} == {
        line.rstrip(":") for line in PRICES.read_text().splitlines() if line.endswith(":")
    }
    file = tmp_path / "prices.yaml"
    file.write_text("h200: 3.6\nh100:\n")
    (one,) = [s for s in size(Demand(100, 2000, 500, 30), "gpt-oss-120b", steady=True) if s.layout.target == "h200"]
    assert one.usd_per_million(load_prices(file)) == pytest.approx(3.6 / 3600 * 1e6 / one.tok_s_per_gpu)
    assert one.usd_per_million({}) is None
    for text in ("h2000: 1", "h200: -1", "h200: much", "- 1"):
        file.write_text(text)
        with pytest.raises(CookbookError, match=r"prices\.yaml"):
            load_prices(file)


def test_bad_numbers_are_one_clear_line(cli) -> None:
    with pytest.raises(UsageError, match="cannot be sized"):
        Demand(0, 2000, 500, 30)
    words = ["size", "--users", "5", "--input", "100", "--output", "100", "--tok-s-per-user", "9000", "--steady"]
    assert "ask for less speed" in cli(*words).stderr
    done = cli("size", "--users", "200", "--input", "2000", "--output", "500", "--tok-s-per-user", "30", "--steady")
    assert done.returncode == 0 and "records of h200" in done.stdout and "no price" in done.stdout


def test_the_tab_sizes_what_its_fields_say() -> None:
    shown = SizeTab()
    assert "gpt-oss-120b: 500 in flight" in shown.status.value and '<td class="cb-text">h200</td>' in shown.table.value
    shown.fields["output tokens"].value = 1
    assert "cannot be sized" in shown.status.value and shown.table.value == ""
    shown.fields["output tokens"].value, shown.model.value = 500, "gpt-oss-20b"
    assert "gpt-oss-20b: 500 in flight" in shown.status.value and shown.table.value


def test_a_simulation_shows_its_rows_unless_another_load_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, going, threads = SizeTab(), threading.Event(), threading.enumerate()

    def simulated(demand: Demand, model: str, steady: bool = False) -> list:
        found = size(demand, model, steady=True)
        return [replace(one, copies_in_bursts=77) for one in found] if steady or going.wait(20) else []

    monkeypatch.setattr("maintain.sizing.tab.size", simulated)
    for other, kept in ((False, True), (True, False)):
        going.clear()
        shown.in_bursts()
        assert shown.simulate.disabled
        if other:
            monkeypatch.setattr("maintain.sizing.tab.size", lambda demand, model, _: size(demand, model, True))
            shown.fields["users"].value = 600
        going.set()
        for thread in [one for one in threading.enumerate() if one not in threads]:
            thread.join(20)
        assert not shown.simulate.disabled and (">154<" in shown.table.value or ">77<" in shown.table.value) == kept


def test_copies_of_one_host_cost_each_other_what_was_measured() -> None:
    """One number, fitted on the point with the most streams: the time per output token of the others follows."""
    *others, most = several()
    assert len(others) >= 3 and beside_others(*most)[0] == pytest.approx(most[2].tpot_ms.p50)
    for record, layout, point in others:
        copies = record.serving.replicas
        alone = layout.tpot_ms(point.concurrency / copies, point.input_tokens, point.output_tokens)
        tpot, rate = beside_others(record, layout, point)
        assert tpot == pytest.approx(point.tpot_ms.p50, rel=0.05), "and without the host it would not"
        assert abs(alone - point.tpot_ms.p50) > abs(tpot - point.tpot_ms.p50)
        assert rate == pytest.approx(point.output_tok_s, rel=0.3)
    record, layout, point = most
    assert crowded(layout, 1, host_us()).tpot_ms(64, 1024, 1024) == layout.tpot_ms(64, 1024, 1024)


def test_a_million_users_are_requests_in_flight() -> None:
    day = Day()
    assert day.rate == pytest.approx(1e6 * 10 * 0.1 / 3600) and day.demand.users == round(day.rate * 500 / 30)
    found = answer(Day(users=20_000), "gpt-oss-20b", "h200")
    assert found.alone.gpus <= found.shared.gpus <= found.room.copies_in_bursts * found.layout.size
    assert 0 < found.host_share < 0.5


@pytest.mark.full
def test_the_page_of_a_million_users_is_todays() -> None:
    assert MILLION.read_text(encoding="utf-8") == million(), "run `python -m maintain.sizing.million`"
