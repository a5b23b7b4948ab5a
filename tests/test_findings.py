"""One finding, one rendering: what stops, what is advice, what is left out."""

import pytest

from helpers.errors import CookbookError
from helpers.findings import Finding, Findings

HELD = Finding("uv", True, "found", "uv")
MISSING = Finding("Port", False, "8000 held by pid 7", "8000 free", "pass port=0")
ADVICE = Finding("NVLink", False, "none", "active links", "expect less speed", required=False)
SILENT = Finding("MIG", None, "–", "–")


def test_what_is_required_stops_and_advice_does_not():
    assert Findings([HELD, ADVICE, SILENT]).passed and Findings([HELD, ADVICE]).exit_code == 0
    report = Findings([HELD, MISSING, ADVICE])
    assert report.failed == [MISSING] and report.exit_code == 1
    with pytest.raises(CookbookError) as error:
        report.raise_if_failed("the run is not started")
    assert str(error.value) == (
        "the run is not started: Port because 8000 held by pid 7, needed 8000 free; pass port=0"
    )
    with pytest.raises(CookbookError, match=r"not ready because Port: 8000 .*; uv: not found; pass port=0"):
        Findings([MISSING, Finding("uv", False, "not found")]).raise_if_failed("not ready")


def test_both_renderings_show_the_same():
    report = Findings([HELD, MISSING, ADVICE, SILENT])
    assert report.text().splitlines() == [
        "✓ uv      found   (needed: uv)",
        "✗ Port    8000 held by pid 7   (needed: 8000 free)",
        "  fix     pass port=0",
        "! NVLink  none   (needed: active links)",
        "  fix     expect less speed",
    ]
    page = report._repr_html_()
    assert (
        page.count("<tr>") == 5
        and "1 checks passed" in page
        and "MIG" not in page
        and "pass port=0" in page
        and ">✗<" in page
    )
    assert "&lt;b&gt;" in Findings([Finding("x", True, "<b>")])._repr_html_()
    assert str(Findings([])) == ""


def test_no_secret_is_shown():
    report = Findings([Finding("hub", False, "refused hf_abcdefghijklmnop", fix="--api-key hush-hush-hush")])
    for shown in (report.text(), report._repr_html_()):
        assert "hf_abc" not in shown and "hush" not in shown
