"""The bars of the tuned profiles: reached, missed and never run are told apart, from studies and records alone."""

import pytest

from helpers import paths
from helpers.bench.tune.objective import Objective
from helpers.bench.tune.study import Study, studies
from helpers.recipes import load_target
from maintain.studies import bars


@pytest.fixture
def study() -> Study:
    return studies("h200", "gpt-oss-20b", "throughput")[-1]


def faster(study: Study, factor: float) -> Study:
    """The study with every point of its configurations at `factor` times bare's throughput."""
    trials = []
    for trial in study.trials:
        points = [
            bare.model_copy(update={"output_tok_s_per_gpu": factor * bare.output_tok_s_per_gpu})
            for bare in study.baseline.points
        ]
        trials.append(trial.model_copy(update={"points": points}))
    return study.model_copy(update={"trials": trials})


@pytest.mark.parametrize(("factor", "reached"), [(1.16, True), (1.14, False), (0.9, False)])
def test_the_throughput_bar_is_at_115(study: Study, monkeypatch, factor: float, reached: bool) -> None:
    monkeypatch.setattr(bars, "compared", lambda *_: [faster(study, factor)])
    bar = bars.throughput("h200", "gpt-oss-20b")
    assert bar.reached is reached and ("**missed**" in bar.row()) is not reached
    assert f"{factor:.2f}x at 256" in bar.measured


def test_the_worst_point_decides(study: Study) -> None:
    """512 alone would pass: the bar is about 256 and above."""
    best = lambda found, least: bars.best(  # noqa: E731
        "x", 1.15, found, Objective("throughput"), lambda users: users >= least
    )
    assert not best([study], 256).reached and best([study], 512).reached
    assert best([study], 1024).reached is None, "a sweep without such a point shows nothing"
    slow = study.model_copy(
        update={"trials": [t.model_copy(update={"state": "failed", "cause": "x", "points": []}) for t in study.trials]}
    )
    assert best([slow], 256).reached is None, "no configuration started"
    both = best([slow, study], 512)
    assert both.reached and "at 512" in both.measured, "any study that compares with bare may reach it"


def test_what_never_ran_is_no_miss(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(paths, "RECORDS", tmp_path)
    monkeypatch.setattr("helpers.records.curves.RECORDS", tmp_path)
    rows = str(bars.bars("h200")).splitlines()[2:]
    assert len(rows) == 6 and all(row.endswith("| never run here |") for row in rows)


def test_a_chosen_value_of_a_recipe_needs_answers_that_were_looked_at() -> None:
    """humming won the study of throughput; the recipe may not take it while its study says that nobody read its answers."""
    unread = [s for s in studies("h200") if any("answers of humming" in note for note in s.notes)]
    block = load_target("h200").serve.profiles["throughput"]
    assert unread and "moe-backend" not in block.args
