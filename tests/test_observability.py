"""Rules, alerts and dashboard: checked by promtool, and by a real Prometheus that scrapes a real server."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from helpers.doctor.signatures import load
from maintain.deploy import observe
from tests.programs import needed


def written(folder: Path, servers: list[str], every: str = "1s") -> Path:
    for name, text in observe.files(servers, every).items():
        (folder / name).write_text(text)
    return folder


def test_every_alert_names_a_signature_of_the_doctor_and_every_panel_its_unit():
    known = {signature.id for signature in load()}
    data = observe.watched()
    assert {alert.signature for alert in data.alerts.values()} <= known
    page = (Path(__file__).parents[1] / "docs" / "failures.md").read_text()
    for rule in observe.rules()["groups"][1]["rules"]:
        (anchor,) = re.findall(r"failures\.md#(\w+)$", rule["annotations"]["runbook"])
        assert f'<a id="{anchor}"></a>' in page
    asked = {name for expr in data.expressions for name in observe.metric_names(expr)}
    assert {name for name in asked if name.startswith("gpt_oss:")} <= data.records.keys()
    assert len(asked) > 20 and len(data.panels) >= 10


def test_the_command_prints_and_writes_them(cli, tmp_path: Path):
    done = cli("deploy", "prometheus", "--server", "10.0.0.1:8000", "--out", str(tmp_path))
    assert done.returncode == 0 and "gpt-oss.rules.yaml" in done.stdout
    config = yaml.safe_load((tmp_path / "prometheus.yaml").read_text())
    assert config["scrape_configs"][0]["static_configs"] == [{"targets": ["10.0.0.1:8000"]}]
    assert json.loads((tmp_path / "gpt-oss.dashboard.json").read_text())["panels"]
    assert "choose" in cli("deploy", "carrier-pigeon").stderr


@pytest.mark.real
def test_promtool_takes_the_rules_and_every_alert_fires_on_its_own_series_only(tmp_path: Path):
    promtool = needed("promtool", "prometheus")
    folder = written(tmp_path, ["127.0.0.1:8000"])

    def ask(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([promtool, *words], cwd=folder, capture_output=True, text=True)

    for words in (
        ("check", "config", "prometheus.yaml"),
        ("check", "rules", "gpt-oss.rules.yaml"),
        ("test", "rules", "gpt-oss.rules.test.yaml"),
    ):
        done = ask(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    broken = (folder / "gpt-oss.rules.yaml").read_text().replace("> 0.9", "> 1.1")
    (folder / "gpt-oss.rules.yaml").write_text(broken)
    assert ask("test", "rules", "gpt-oss.rules.test.yaml").returncode != 0
