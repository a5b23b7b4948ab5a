"""Rules, alerts and dashboard: checked by promtool, and by a real Prometheus that scrapes a real server."""

import contextlib
import json
import math
import re
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml

from helpers.doctor.signatures import load
from helpers.server import free_port
from maintain.deploy import observe
from tests.programs import needed

LOAD_S, RULES_S = 8, 30  # requests go on for so long; the rules have followed within the other


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
    dashboard = json.loads((tmp_path / "gpt-oss.dashboard.json").read_text())
    assert dashboard["panels"] and {"schemaVersion", "templating", "annotations"} <= dashboard.keys(), (
        "as Grafana requires"
    )
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


@pytest.mark.full
def test_a_real_prometheus_scrapes_a_real_server(server, client, tmp_path: Path):
    program, port = needed("prometheus", "prometheus"), free_port()
    written(tmp_path, [server.base_url.removeprefix("http://")])
    words = [program, "--config.file=prometheus.yaml", f"--web.listen-address=127.0.0.1:{port}"]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen([*words, "--storage.tsdb.path=data"], cwd=tmp_path, stdout=log, stderr=log)
    try:
        _scraped(httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10), server, client)
    finally:
        running.terminate()
        assert running.wait(20) == 0, (tmp_path / "log").read_text()[-2000:]


def _scraped(prometheus: httpx.Client, server, client) -> None:
    def value(query: str) -> float | None:
        """The first sample of a query; None where there is none yet."""
        found = prometheus.get("/query", params={"query": query}).json()["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    def up() -> bool:
        with contextlib.suppress(httpx.HTTPError):  # it does not listen yet
            return value("up") == 1
        return False

    _until(up)
    model = client.models.list().data[0].id
    ends = time.monotonic() + LOAD_S
    while time.monotonic() < ends:
        message = [{"role": "user", "content": "What is 2 + 2?"}]
        client.chat.completions.create(model=model, messages=message, max_tokens=20)
    _until(lambda: (value("gpt_oss:ttft_seconds:p95") or 0) > 0 and (value("gpt_oss:generation_tokens:rate") or 0) > 0)
    page = httpx.get(f"{server.base_url}/metrics").text
    told = [float(one) for one in re.findall(r"^vllm:generation_tokens_total\{.*\} (\S+)$", page, re.M)]
    _until(lambda: value("sum(vllm:generation_tokens_total)") == sum(told))
    assert 0 < value("gpt_oss:ttft_seconds:p50") < 60 and 0 < value("gpt_oss:tpot_seconds:p50") < 10
    for group in prometheus.get("/rules").json()["data"]["groups"]:
        assert group["rules"] and all(rule["health"] == "ok" for rule in group["rules"]), group
    data = observe.watched()
    for expr in data.expressions:
        assert prometheus.get("/query", params={"query": expr}).json()["status"] == "success", expr
    on_page = set(re.findall(r"^([a-zA-Z_:][\w:]*)", page, re.M))
    asked = {name for expr in data.expressions for name in observe.metric_names(expr)}
    missing = {name for name in asked if not name.startswith("gpt_oss:")} - on_page - {"up"}
    assert not missing, f"the server has no {missing}"
    silent = {name for name in data.records if value(name) is None}
    assert not silent, silent
    for panel in observe.dashboard()["panels"]:
        for target in panel["targets"]:
            seen = value(target["expr"])
            assert seen is not None and not math.isnan(seen), f"{panel['title']} shows nothing of {target['expr']}"
    assert value("gpt_oss:http_5xx:ratio") == 0  # no request of this test failed


def _until(holds) -> None:
    ends = time.monotonic() + RULES_S
    while not holds():
        assert time.monotonic() < ends, "Prometheus has not seen it"
        time.sleep(0.5)
