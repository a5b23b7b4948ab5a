"""The benchmarks' records and the page made from them."""

import pytest

from benchmarks.result import NAMES, RECORDS, TABLE, Value, read_all, table
from benchmarks.run import main


def test_the_page_is_made_from_the_records():
    assert TABLE.read_text() == table(read_all()), "run `python -m benchmarks.run --table`"
    taken = {path.stem for path in RECORDS.glob("*.json")}
    assert taken & set(NAMES), "no benchmark was ever run"
    assert all(name in taken or f"`{name}` has no record yet" in TABLE.read_text() for name in NAMES)


def test_a_missed_bar_is_said():
    result = read_all()[0]
    missed = result.model_copy(update={"values": [Value(name="x", value=2, unit="s", bar=1)]})
    assert "**no**" in table([missed]) and "| yes |" not in table([missed])


def test_what_a_cut_off_hunt_did_not_write_is_unknown():
    for unit in ("s", "GiB"):
        assert Value(name="x", value=0, unit=unit).shown == "unknown: the run was cut off"
    for known in (
        Value(name="x", value=0, unit="s", bar=1),
        Value(name="x", value=0, unit=""),
        Value(name="x", value=2, unit="s"),
    ):
        assert "unknown" not in known.shown, known


def test_an_unknown_benchmark_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench", "speed"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2 and "no benchmark speed" in capsys.readouterr().err


def test_a_figure_shows_itself_in_a_notebook():
    from IPython.core.formatters import DisplayFormatter

    from helpers.plots.style import figure

    data, _ = DisplayFormatter().format(figure()[0])
    assert data["image/png"], "without a picture a notebook shows '<Figure size ...>' only"
