"""``farmhaul exporter`` serves metrics, at a cost that does not grow with the uploads."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.request
from pathlib import Path

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from tasks.intake.envelope import make_body, sign
from tests.farm import Farm, wait_until
from tests.helpers.exporter import MONITORING, exporter
from tests.helpers.imports import loaded_by
from tests.helpers.redis_traffic import commands_done
from tests.sandbox.process import CHECKOUT, CLOSED_PORT, NO_REDIS
from workers.exporter import COUNTERS

Samples = dict[tuple[str, ...], float]


def scrape(url: str) -> Samples:
    """Read the metrics: name and label values, in the order of the labels' names."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_shows_pending_uploads_and_their_age(hook: Farm, tmp_path: Path) -> None:
    old = hook.upload("--priority", "urgent").id
    hook.redis.zincrby("farmhaul:pending", -7200_000, old)
    hook.upload()
    hook.upload("--node-local")
    entries = [sign(make_body([], time.time() - age_s, "node7"), []) for age_s in (90, 5)]
    hook.redis.lpush("farmhaul:inbox", *entries)
    hook.redis.hset("farmhaul:unread", "1.9.0", 1)
    hook.redis.lpush("farmhaul:unread:1.9.0", entries[0])
    now, _ = hook.redis.time()
    hook.redis.zadd("farmhaul:workers", {"w1@node9 local": now})  # celery worker -Q farmhaul.node9
    with exporter(hook, tmp_path) as url:
        seen = scrape(url)

    host = socket.gethostname()
    assert seen["farmhaul_redis_up",] == 1
    assert seen["farmhaul_uploads", "pending"] == 3
    assert seen["farmhaul_inbox_entries",] == 2
    assert seen["farmhaul_inbox_unread_entries",] == 1
    assert 90 <= seen["farmhaul_inbox_oldest_seconds",] < 120
    assert seen["farmhaul_pending", "", "urgent"] == seen["farmhaul_pending", "", "normal"] == 1
    assert seen["farmhaul_pending", host, "normal"] == 1
    assert 7200 <= seen["farmhaul_pending_oldest_seconds", "", "urgent"] < 7300
    assert 0 <= seen["farmhaul_pending_oldest_seconds", "", "normal"] < 100
    assert seen["farmhaul_messages", "", "compute_checksum"] >= 1
    # No worker runs there, so it gets no message yet.
    assert seen["farmhaul_messages", host, "compute_checksum"] == 0
    assert seen["farmhaul_workers",] == 0


def test_a_scrape_shows_workers_gates_and_retry_reasons(farm: Farm, tmp_path: Path) -> None:
    farm.wait_located([farm.upload().id])
    farm.sandbox.faults.add("ftrack", "error", "InvalidCredentialsError", content="not you")
    farm.wait_state([farm.upload().id], "retrying")
    # One upload closes no gate: several must meet the same.
    farm.redis.hset("farmhaul:gate:credentials", "until", 9e9)
    wait_until(lambda: farm.redis.zcard("farmhaul:workers") == len(farm.workers))
    # Not one of the farm's: one that ftrack refuses is set aside, which would count instead.
    node, (now, _) = "w9@node9", farm.redis.time()
    farm.redis.zadd("farmhaul:alive", {f"1.0 {node}": now})
    note = {"what": "files", "error": "gone", "kind": "x", "since": now, "last": now, "count": 3}
    farm.redis.hset("farmhaul:left_to_others", node, json.dumps(note))
    with exporter(farm, tmp_path) as url:
        seen = scrape(url)
    farm.sandbox.faults.clear()

    assert seen["farmhaul_workers",] == len(farm.workers)
    assert seen["farmhaul_uploads", "located"] == 1
    assert seen["farmhaul_gate_closed", "credentials"] == 1
    assert seen["farmhaul_gate_closed", "ftrack"] == 0
    assert seen["farmhaul_gate_closed_since_seconds", "credentials"] > 1.7e9
    assert seen["farmhaul_retrying_sample", "CredentialsRefusedError"] == 1
    assert seen["farmhaul_node_left_to_others", node, "files"] == 3


def test_a_scrape_of_ten_thousand_uploads_costs_few_commands(hook: Farm, tmp_path: Path) -> None:
    pipeline = hook.redis.pipeline(transaction=False)
    for number in range(10_000):
        pipeline.zadd("farmhaul:retrying", {f"u{number}": number})
        pipeline.zadd("farmhaul:state:retrying", {f"u{number}": number})
        pipeline.hset(f"farmhaul:upload:u{number}", "retry_reason", "FileNotReadyError")
    pipeline.execute()
    with exporter(hook, tmp_path) as url:
        scrape(url)
        counts = []
        for _ in range(5):  # workers of other tests, which are idle, only add to a count
            before = commands_done(hook.redis)
            seen = scrape(url)
            counts.append(commands_done(hook.redis) - before)

    assert seen["farmhaul_uploads", "retrying"] == 10_000
    assert seen["farmhaul_retrying_sample", "FileNotReadyError"] == 50
    assert min(counts) <= 150, counts


def test_without_redis_a_scrape_shows_only_that(hook: Farm, tmp_path: Path) -> None:
    hook.env["FARMHAUL_REDIS_URL"] = NO_REDIS
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=CLOSED_PORT).ping()
    with exporter(hook, tmp_path) as url:
        assert scrape(url) == {("farmhaul_redis_up",): 0}


def test_a_port_that_is_taken_is_bad_input(hook: Farm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = hook.cli("exporter", "--port", str(taken.getsockname()[1]))

    assert done.returncode == 2
    assert done.stderr.startswith("farmhaul: cannot listen on 127.0.0.1:")


def test_alerts_and_dashboard_use_existing_metrics(hook: Farm, tmp_path: Path) -> None:
    source = (CHECKOUT / "workers" / "exporter.py").read_text()
    exported = set(re.findall(r'"(farmhaul_\w+)"', source)) | {"farmhaul_upload_seconds_bucket"}
    exported |= {f"farmhaul_{name}_total" for name in COUNTERS}
    alerts = (MONITORING / "alerts.yml").read_text()
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    shown = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])

    assert set(re.findall(r"farmhaul_\w+", shown)) <= exported
    assert set(re.findall(r"farmhaul_\w+", alerts)) <= exported
    documented = (CHECKOUT / "docs" / "operations.md").read_text()
    assert exported - set(re.findall(r"farmhaul_\w+", documented)) == {
        "farmhaul_upload_seconds_bucket"
    }


def test_a_scrape_shows_counters_and_durations(farm: Farm, tmp_path: Path) -> None:
    with farm.frozen():
        late = farm.upload("--priority", "low", content=1000).id
        gone = farm.upload().id
        farm.cli("cancel", gone)
        farm.redis.hincrby(f"farmhaul:upload:{late}", "score", -100_000)
    farm.wait_located([late])
    farm.sandbox.faults.add("ftrack", "error", "PermissionError", content="no")
    farm.wait_state([farm.upload().id], "failed")
    farm.redis.hset("farmhaul:totals", mapping={"refused": 3, "Bad-Name": 1, "odd": "text"})
    with exporter(farm, tmp_path) as url:
        seen = scrape(url)
    farm.sandbox.faults.clear()

    assert seen["farmhaul_enqueued_total",] == 3
    assert seen["farmhaul_located_total",] == seen["farmhaul_cancelled_total",] == 1
    assert seen["farmhaul_located_bytes_total",] == seen["farmhaul_stored_bytes_total",] == 1000
    assert seen["farmhaul_failed_total", "RequestRefusedError"] == 1
    assert seen["farmhaul_failed_total", "StoreRefusedError"] == 0
    assert seen["farmhaul_refused_total",] == 3
    assert seen["farmhaul_events_dropped_total",] == seen["farmhaul_refused_requests_total",] == 0
    assert seen["farmhaul_upload_seconds_bucket", "64"] == 0
    assert seen["farmhaul_upload_seconds_bucket", "256"] == 1
    assert seen["farmhaul_upload_seconds_bucket", "+Inf"] == 1
    assert seen["farmhaul_upload_seconds_count",] == 1
    assert 100 <= seen["farmhaul_upload_seconds_sum",] < 256
    assert not [name for name, *_ in seen if "Bad" in name or "odd" in name]


def test_a_cold_start_of_the_command_does_not_import_it() -> None:
    assert loaded_by("import workers.cli").isdisjoint({"prometheus_client", "workers.exporter"})
