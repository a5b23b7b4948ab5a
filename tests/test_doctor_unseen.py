"""Logs rebuilt from reports that no signature was written from: the first cause and how it ended, and what explains it.

Judged before anything was mended for them, the doctor was right about 39 of the 43 and knew 20 of the 41 failures.
"""

import io
from pathlib import Path

import pytest
import yaml

from helpers.doctor import diagnose
from helpers.doctor.signatures import load

UNSEEN = Path(__file__).parent / "fixtures" / "unseen_logs.yaml"
LOGS = {case["name"]: case for case in yaml.safe_load(UNSEEN.read_text(encoding="utf-8"))}


def test_they_are_of_every_component_that_fails_in_a_log():
    known = {one.id: one.component for one in load()}
    missing = {"client", "harmony", "startup"}  # told to the client; refused by vLLM's own parser
    assert len(LOGS) >= 30
    assert {known[name] for case in LOGS.values() for name in case["fits"]} >= set(known.values()) - missing


@pytest.mark.parametrize("name", LOGS)
def test_the_verdict_and_the_first_cause_are_right(name):
    case = LOGS[name]
    found = diagnose(io.BytesIO(case["log"].encode()))
    assert found.kind == case["kind"]
    assert case["cause"] in (found.exception or "") if case["cause"] else found.exception is None
    assert (found.cause.signature.id in case["fits"]) if case["fits"] else found.cause is None
