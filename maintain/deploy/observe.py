"""Prometheus and Grafana files of a gpt-oss server: everything from recipes/observability.yaml."""

import json
import re
from functools import cache
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from helpers.errors import UsageError
from helpers.paths import RECIPES
from helpers.recipes.files import Loader

FILE = RECIPES / "observability.yaml"
JOB = "gpt-oss"
NAMES = re.compile(r"(?<![\w:])(?:(?:vllm|gpt_oss):[\w:]+|(?:http|process)_\w+|up\b)")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Record(_Strict):
    """A recording rule: an expression in seconds, ratios or counts a second, and what it is in words."""

    expr: str
    what: str


class Alert(_Strict):
    """An alert: its bound, the doctor's signature to read, series that make it fire and series that must not."""

    expr: str
    for_: str = Field(alias="for", pattern=r"^\d+[ms]$")
    severity: Literal["page", "ticket"]
    signature: str
    says: str
    do: str
    fires: dict[str, str]  # series -> values, one a minute, as promtool writes them
    quiet: dict[str, str]


class Panel(_Strict):
    """A panel of the dashboard: `series` maps a legend to an expression."""

    title: str
    unit: Literal["s", "short", "percentunit", "reqps"]
    series: dict[str, str]


class Watched(_Strict):
    """The whole file."""

    labels: str
    window: str
    records: dict[str, Record]
    alerts: dict[str, Alert]
    panels: list[Panel]

    def filled(self, expr: str) -> str:
        """An expression with its labels and its window."""
        return expr.replace("MODEL", self.labels).replace("WINDOW", self.window)

    @property
    def expressions(self) -> list[str]:
        """Every expression of records, alerts and panels, filled."""
        panels = [one for panel in self.panels for one in panel.series.values()]
        exprs = [one.expr for one in [*self.records.values(), *self.alerts.values()]]
        return [self.filled(one) for one in [*exprs, *panels]]


@cache
def watched() -> Watched:
    """recipes/observability.yaml, checked."""
    return Watched.model_validate(yaml.load(FILE.read_text(encoding="utf-8"), Loader))


def metric_names(expr: str) -> set[str]:
    """The names of metrics in an expression.

    >>> sorted(metric_names('sum by (job, le) (rate(vllm:prompt_tokens_total{a="b"}[5m])) > 0 and up == 1'))
    ['up', 'vllm:prompt_tokens_total']
    """
    return set(NAMES.findall(expr))


def rules() -> dict[str, Any]:
    """The file of recording rules and alerts, as Prometheus reads it."""
    data = watched()
    records = [{"record": name, "expr": data.filled(one.expr)} for name, one in data.records.items()]
    alerts = [
        {
            "alert": name,
            "expr": data.filled(one.expr),
            "for": one.for_,
            "labels": {"severity": one.severity},
            "annotations": {
                "summary": one.says,
                "runbook": f"{one.do} Known failure {one.signature}: docs/failures.md#{one.signature.lower()}",
            },
        }
        for name, one in data.alerts.items()
    ]
    groups = [("gpt-oss.records", records), ("gpt-oss.alerts", alerts)]
    return {"groups": [{"name": name, "rules": found} for name, found in groups]}


def rule_tests(rules_file: str) -> dict[str, Any]:
    """`promtool test rules` for every alert: it fires on its own series, and stays quiet on the others."""
    tests = []
    for name, alert in watched().alerts.items():
        for series, expected in ((alert.fires, True), (alert.quiet, False)):
            minutes = 20 if alert.for_ == "10m" else 9
            tests.append(
                {
                    "name": f"{name} {'fires' if expected else 'stays quiet'}",
                    "interval": "1m",
                    "input_series": [{"series": one, "values": values} for one, values in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
                            "eval_time": f"{minutes}m",
                            "exp_samples": [{"labels": "{}", "value": 1}] if expected else [],
                        }
                    ],
                }
            )
    return {"rule_files": [rules_file], "evaluation_interval": "1m", "tests": tests}


def scrape(targets: list[str], rules_file: str, every: str = "15s") -> dict[str, Any]:
    """Prometheus' own configuration: the servers `HOST:PORT` and the rules."""
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [rules_file],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": targets}]}],
    }


def dashboard() -> dict[str, Any]:
    """The Grafana dashboard: two panels a row, the data source chosen at import."""
    data, source = watched(), {"type": "prometheus", "uid": "${datasource}"}
    panels = []
    for number, panel in enumerate(data.panels):
        targets = [
            {
                "refId": chr(ord("A") + at),
                "datasource": source,
                "expr": data.filled(expr),
                "legendFormat": f"{legend} {{{{instance}}}}",  # several copies are several lines
            }
            for at, (legend, expr) in enumerate(panel.series.items())
        ]
        panels.append(
            {
                "id": number + 1,
                "type": "timeseries",
                "title": panel.title,
                "datasource": source,
                "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "targets": targets,
            }
        )
    chosen = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    return {
        "uid": "gpt-oss-on-vllm",
        "title": "gpt-oss on vLLM",
        "schemaVersion": 39,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [chosen]},
        "annotations": {"list": []},  # Grafana's published schema requires the key
        "panels": panels,
    }


def files(targets: list[str], every: str = "15s") -> dict[str, str]:
    """File name -> text: Prometheus' configuration, rules and their tests, the dashboard. Targets are HOST:PORT."""
    if wrong := [one for one in targets if not re.fullmatch(r"[\w.:\[\]-]+:\d{1,5}", one)]:
        raise UsageError(f"{wrong[0]!r} is no server's address", do="write HOST:PORT, e.g. 10.0.0.1:8000")
    told = {
        "prometheus.yaml": scrape(targets, "gpt-oss.rules.yaml", every),
        "gpt-oss.rules.yaml": rules(),
        "gpt-oss.rules.test.yaml": rule_tests("gpt-oss.rules.yaml"),
    }
    texts = {name: yaml.safe_dump(content, sort_keys=False, width=1000) for name, content in told.items()}
    return texts | {"gpt-oss.dashboard.json": json.dumps(dashboard(), indent=2) + "\n"}
