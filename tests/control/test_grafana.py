"""Every number that an operator is promised is on /metrics, and the dashboard asks for nothing that is not there."""

from __future__ import annotations

import json
import os
import re
import ssl
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import control
from tests.server import RunningServer

DASHBOARD: dict[str, Any] = json.loads((Path(control.__file__).parent / "grafana.json").read_text(encoding="utf-8"))

PROMQL_WORDS = {"by", "rate", "increase", "sum", "histogram_quantile", "time"}
"""Everything in the dashboard's expressions that is neither a metric nor a label."""

Exported = dict[str, set[str]]
"""Label names by the name of each sample."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """What a server shows that encrypts HTTP and has a shard."""
    environment = {**os.environ, "ANTIPHON_CONTROL_RUNTIME_DIR": str(tmp_path_factory.mktemp("run") / "own")}
    with RunningServer(shards=1, args=["--dev-tls"], environment=environment) as server:
        self_signed = ssl.create_default_context()
        self_signed.check_hostname = False
        self_signed.verify_mode = ssl.CERT_NONE
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self_signed))

        def read() -> Exported:
            labels: Exported = defaultdict(set)
            with opener.open(f"{server.url}/metrics", timeout=10) as answer:
                for family in text_string_to_metric_families(answer.read().decode()):
                    for sample in family.samples:
                        labels[sample.name] |= set(sample.labels)
            return labels

        server.wait(lambda: "antiphon_shard_packets_total" in read(), 30, lambda: server.output)  # there was a heartbeat
        yield read()


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def names_and_labels(expression: str) -> tuple[set[str], set[str]]:
    """Metrics that a PromQL expression names, and the labels that it selects or groups by."""
    grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
    selected = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', expression))
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)", " ", expression)
    words = set(re.findall(r"[a-zA-Z_]\w*", bare))
    return words - PROMQL_WORDS, grouped | selected


def test_expressions_are_read_as_prometheus_does() -> None:
    expression = 'histogram_quantile(0.9, sum by (le, shard) (rate(a_bucket{b="x",c=~"y|z"}[$__rate_interval]))) - time() > 0'
    assert names_and_labels(expression) == ({"a_bucket"}, {"le", "shard", "b", "c"})


@pytest.mark.parametrize("expression", expressions())
def test_the_dashboard_uses_only_metrics_and_labels_that_exist(exported: Exported, expression: str) -> None:
    names, labels = names_and_labels(expression)
    assert names
    assert names <= set(exported)
    assert labels <= set().union(*(exported[name] for name in names))


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["type"] for panel in panels} == {"row", "stat", "timeseries"}
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    for panel in panels:
        x, width = panel["gridPos"]["x"], panel["gridPos"]["w"]
        assert 0 <= x < x + width <= 24
    assert len(expressions()) > 20


@pytest.mark.parametrize(
    ("what", "labels"),
    [
        ("antiphon_rooms", ""),
        ("antiphon_participants", ""),
        ("antiphon_shard_table", "shard table"),  # tracks and consumers
        ("antiphon_shard_packets_total", "shard direction"),
        ("antiphon_shard_bytes_total", "shard direction"),
        ("antiphon_shard_drops_total", "shard reason"),
        ("antiphon_shard_forwarding_latency_seconds_bucket", "shard le"),
        ("antiphon_control_lag_seconds_bucket", "le"),
        ("antiphon_shard_lag_seconds", "shard"),
        ("antiphon_control_cpu_seconds_total", ""),
        ("antiphon_shard_signaling_cpu_seconds_total", "shard"),
        ("antiphon_shard_forwarding_cpu_seconds_total", "shard"),
        ("antiphon_join_duration_seconds_bucket", "le"),
        ("antiphon_shard_setup_duration_seconds_bucket", "shard connection le"),
        ("antiphon_signaling_errors_total", "code"),
    ],
)
def test_every_number_that_operators_are_promised_is_there(exported: Exported, what: str, labels: str) -> None:
    assert exported[what] == set(labels.split())


def test_all_names_begin_with_antiphon(exported: Exported) -> None:
    assert [name for name in exported if not name.startswith("antiphon_")] == []
