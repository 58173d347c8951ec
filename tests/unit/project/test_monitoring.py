"""Alert rules and dashboard: well formed, over metrics that are there, with commands that exist."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from stillhouse.cli.main import app
from support.documents import metrics_table
from support.servers.prometheus import (
    DEPLOY,
    RULES,
    metrics_named,
    needs_prometheus,
    panels,
    promtool,
    queries,
    rules,
)

_HOUR = 3600


def test_the_page_of_metrics_is_what_the_code_has() -> None:
    assert metrics_table.PAGE.read_text() == metrics_table.page(), "run: make metrics-docs"


def test_names_follow_the_rules_of_prometheus() -> None:
    for one in metrics_table.described():
        assert re.fullmatch(r"(stillhouse|process)_[a-z_]+", one.name)
        assert (one.kind == "counter") == one.name.endswith("_total"), one.name
        assert not re.search(r"_(ms|milliseconds|kb|mb|percent|hours|days)(_|$)", one.name)
        assert {"snapshot", "reason", "key", "user"}.isdisjoint(one.labels), "of bounded cardinality"


def test_every_metric_that_a_rule_or_a_panel_names_is_one() -> None:
    known = {one.name for one in metrics_table.described()}
    for query in [*(rule.expr for rule in rules()), *queries()]:
        assert metrics_named(query) <= known, query


def test_every_metric_has_its_place_in_a_rule_or_a_panel() -> None:
    shown = {
        name for query in [*(rule.expr for rule in rules()), *queries()] for name in metrics_named(query)
    }
    not_shown = {
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
        "stillhouse_build_info",
        "stillhouse_capture_files_total",
        "stillhouse_capture_seconds",
        "stillhouse_captures_total",
        "stillhouse_checks_timestamp_seconds",
        "stillhouse_cut_tries_total",
        "stillhouse_flow_oldest_queued_seconds",
        "stillhouse_http_requests_in_progress",
        "stillhouse_snapshot_phase_seconds",
        "stillhouse_timer_failures_total",
        "stillhouse_timer_rounds_total",
        "stillhouse_work_seconds",
    }
    assert {one.name for one in metrics_table.described()} - shown <= not_shown


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.alert)
def test_every_alert_is_documented_and_names_a_command_that_exists(rule: Any) -> None:
    page = metrics_table.PAGE.read_text()
    assert f"`{rule.alert}`" in page and rule.severity in ("critical", "warning")
    assert "Look: " in rule.texts
    for words in re.findall(r"`stillhouse ([a-z -]+)", rule.texts):
        command = re.match(r"[a-z]+(?: (?!-)[a-z-]+)?", words)
        assert command is not None
        _, parsed, unused = app.parse_commands(command[0].split())
        assert not unused and len(parsed) > 1, words


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.alert)
def test_a_command_for_a_cluster_takes_its_name_where_the_alert_says(rule: Any) -> None:
    for line in re.findall(r"`stillhouse ([^`]*\{\{[^`]*)`", rule.texts):
        words = re.sub(r"\{\{.*?\}\}", "orders", line).split()
        app.parse_args(words, exit_on_error=False, print_error=False)


def test_every_alert_on_the_page_is_a_rule() -> None:
    named = set(re.findall(r"`(Stillhouse\w+)`", metrics_table.PAGE.read_text()))
    assert named == {rule.alert for rule in rules()}


def test_panels_are_told_apart_and_lie_beside_each_other() -> None:
    shown = panels()
    assert len({panel["id"] for panel in shown}) == len(shown)
    assert all(panel["description"] for panel in shown if panel["type"] != "row")
    places = [panel["gridPos"] for panel in shown]
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
    assert all(place["x"] + place["w"] <= 24 for place in places)


@needs_prometheus
def test_promtool_finds_no_fault(tmp_path: Path) -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    records = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries())]
    recorded = tmp_path / "panels.yml"
    recorded.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    promtool("check", "rules", str(recorded))


_OF = 'cluster="c",name="orders",instance="i"'
_SERVICE = 'instance="i",job="stillhouse"'
# What each alert is to fire for, and a state of the same in which it must be silent. All at minute 120.
_CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "StillhouseDown": ({f"up{{{_SERVICE}}}": "0x200"}, {f"up{{{_SERVICE}}}": "1x200"}),
    **{
        alert: (
            {f'stillhouse_check_ok{{check="{check}",instance="i"}}': "0x200"},
            {f'stillhouse_check_ok{{check="{check}",instance="i"}}': "1x200"},
        )
        for alert, check in (
            ("StillhouseCatalogUnavailable", "catalog"),
            ("StillhouseStoreUnreachable", "store"),
            ("StillhouseDiskFull", "disk"),
        )
    },
    "StillhouseKeyLost": (
        {'stillhouse_check_ok{check="key",instance="i"}': "0x200"},
        {
            'stillhouse_check_ok{check="key",instance="i"}': "0x200",
            'stillhouse_check_ok{check="store",instance="i"}': "0x200",
        },
    ),
    "StillhouseEngineStuck": (
        {'stillhouse_check_ok{check="engine",instance="i"}': "0x200"},
        {
            'stillhouse_check_ok{check="engine",instance="i"}': "0x200",
            'stillhouse_check_ok{check="catalog",instance="i"}': "0x200",
        },
    ),
    "StillhouseDiskFilling": (
        {
            'stillhouse_disk_free_bytes{place="data",instance="i"}': "90-0.1x200",
            'stillhouse_disk_size_bytes{place="data",instance="i"}': "1000x200",
        },
        {
            'stillhouse_disk_free_bytes{place="data",instance="i"}': "90x200",
            'stillhouse_disk_size_bytes{place="data",instance="i"}': "1000x200",
        },
    ),
    "StillhouseTimerStalled": (
        {'stillhouse_timer_last_round_timestamp_seconds{instance="i"}': "0x200"},
        {'stillhouse_timer_last_round_timestamp_seconds{instance="i"}': "0+60x200"},
    ),
    "StillhouseDescriptors": (
        {f"process_open_fds{{{_SERVICE}}}": "90x200", f"process_max_fds{{{_SERVICE}}}": "100x200"},
        {f"process_open_fds{{{_SERVICE}}}": "50x200", f"process_max_fds{{{_SERVICE}}}": "100x200"},
    ),
    "StillhouseServerErrors": (
        {
            'stillhouse_http_requests_total{operation="a",status="200",instance="i"}': "0+9x200",
            'stillhouse_http_requests_total{operation="a",status="503",instance="i"}': "0+1x200",
        },
        {
            'stillhouse_http_requests_total{operation="a",status="200",instance="i"}': "0+9x200",
            'stillhouse_http_requests_total{operation="a",status="404",instance="i"}': "0+9x200",
        },
    ),
    "StillhouseNodeDown": (
        {f'stillhouse_node_up{{{_OF},node="dn-1"}}': "0x200"},
        {f'stillhouse_node_up{{{_OF},node="dn-1"}}': "1x200"},
    ),
    "StillhouseSnapshotTooOld": (
        {
            f"stillhouse_cluster_created_timestamp_seconds{{{_OF}}}": f"{-30 * _HOUR}x200",
            f"stillhouse_cluster_at_work{{{_OF}}}": "1x200",
        },
        {
            f"stillhouse_cluster_created_timestamp_seconds{{{_OF}}}": f"{-30 * _HOUR}x200",
            f"stillhouse_snapshot_last_good_timestamp_seconds{{{_OF}}}": "0x200",
            f"stillhouse_cluster_at_work{{{_OF}}}": "1x200",
        },
    ),
    "StillhousePolicyRunMissed": (
        {f"stillhouse_policy_runs_missed{{{_OF}}}": "1x200"},
        {f"stillhouse_policy_runs_missed{{{_OF}}}": "0x200"},
    ),
    "StillhousePolicyOverdue": (
        {f"stillhouse_policy_next_run_timestamp_seconds{{{_OF}}}": "0x200"},
        {f"stillhouse_policy_next_run_timestamp_seconds{{{_OF}}}": "9000x200"},
    ),
    "StillhouseSnapshotsFailing": (
        {f'stillhouse_snapshots_failed_since_good{{{_OF},code="cut.failed"}}': "2x200"},
        {f'stillhouse_snapshots_failed_since_good{{{_OF},code="cut.failed"}}': "1x200"},
    ),
    "StillhouseFailuresRising": (
        {f'stillhouse_failures_total{{{_OF},work="proof",code="x"}}': "_x110 3x90"},
        {f'stillhouse_failures_total{{{_OF},work="proof",code="x"}}': "3x200"},
    ),
    "StillhouseFlowStalled": (
        {f'stillhouse_flow_quiet_seconds{{{_OF},flow="create_snapshot"}}': "901x200"},
        {f'stillhouse_flow_quiet_seconds{{{_OF},flow="create_snapshot"}}': "899x200"},
    ),
    "StillhouseDamage": (
        {f"stillhouse_damaged_objects{{{_OF}}}": "1x200"},
        {f"stillhouse_damaged_objects{{{_OF}}}": "0x200"},
    ),
    "StillhouseProofRefuted": (
        {f'stillhouse_proof_last_outcome{{{_OF},outcome="refuted"}}': "1x200"},
        {f'stillhouse_proof_last_outcome{{{_OF},outcome="refuted"}}': "0x200"},
    ),
    "StillhouseProofFailed": (
        {f'stillhouse_proof_last_outcome{{{_OF},outcome="failed"}}': "1x200"},
        {f'stillhouse_proof_last_outcome{{{_OF},outcome="proved"}}': "1x200"},
    ),
    **{
        alert: (
            {f"stillhouse_{metric}_due_timestamp_seconds{{{_OF}}}": f"{-25 * _HOUR}x200"},
            {f"stillhouse_{metric}_due_timestamp_seconds{{{_OF}}}": "0x200"},
        )
        for alert, metric in (
            ("StillhouseProofTooOld", "proof"),
            ("StillhouseCollectionOverdue", "collection"),
            ("StillhouseTrashOverdue", "trash"),
        )
    },
}


@needs_prometheus
def test_every_rule_fires_for_its_state_and_for_no_other(tmp_path: Path) -> None:
    assert _CASES.keys() == {rule.alert for rule in rules()}
    tests = []
    for alert, states in _CASES.items():
        for state, fires in zip(states, (True, False), strict=True):
            firing = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
            expected = [{"labels": "{}", "value": 1}] if fires else []
            tests.append(
                {
                    "interval": "1m",
                    "name": f"{alert} {'fires' if fires else 'is silent'}",
                    "input_series": [{"series": name, "values": values} for name, values in state.items()],
                    "promql_expr_test": [
                        {"expr": f"count({firing})", "eval_time": "120m", "exp_samples": expected}
                    ],
                }
            )
    written = tmp_path / "tests.yml"
    written.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", str(written))
