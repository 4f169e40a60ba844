"""deploy/monitoring: Prometheus and promtool accept its files, and compose finds each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.parse
import urllib.request
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.debian import NoPackages
from tests.docker import engine, prometheus
from tests.farm import Farm, wait_until
from tests.helpers.exporter import MONITORING, exporter
from tests.helpers.skipping import skip_loudly
from tests.sandbox import Sandbox
from tests.sandbox.process import CHECKOUT, Child, free_ports

# The time of the first test includes the download of Debian's package.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
yaml: Any = import_module("yaml")  # it has no types


def program(name: str) -> str:
    try:
        return prometheus.program(name)
    except NoPackages as error:
        skip_loudly("NO ALERT AND NO SCRAPE WAS TESTED", error)


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("check rules", "alerts.yml"),
        ("check config", "prometheus.yml"),
        ("test rules", "alerts.test.yml"),
    ],
)
def test_promtool_accepts_the_files(action: str, name: str) -> None:
    command = [program("promtool"), *action.split(), str(MONITORING / name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_the_exporter_and_knows_each_alert(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    farm = Farm(sandbox, tmp_path / "farm", workers=0)
    [port] = free_ports(1)
    alerts = (MONITORING / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(alerts)
    config = tmp_path / "prometheus.yml"
    command = [
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]

    def ask(what: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{port}/api/v1/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def one(expression: str) -> str:
        found = ask("query", query=expression)["result"]
        return str(found[0]["value"][1]) if found else ""

    with exporter(farm, tmp_path) as url:
        place = urllib.parse.urlsplit(url).netloc
        shipped = (MONITORING / "prometheus.yml").read_text()
        config.write_text(shipped.replace("exporter:9840", place).replace("15s", "1s"))
        assert place in config.read_text()
        child = Child("prometheus", command, tmp_path / "prometheus.log")
        try:
            child.wait_ready(lambda: bool(ask("status/buildinfo")))
            wait_until(lambda: one('up{job="farmhaul"}') == "1", 60)
            wait_until(lambda: one("farmhaul_redis_up") == "1", 60)
            known = [rule["name"] for group in ask("rules")["groups"] for rule in group["rules"]]
        finally:
            child.stop()

    written = [
        rule["alert"] for group in yaml.safe_load(alerts)["groups"] for rule in group["rules"]
    ]
    assert known == written


def test_the_monitoring_services_are_pinned_and_confined() -> None:
    try:
        engine.install()
    except engine.NoEngine as error:
        skip_loudly("docker-compose.yml WAS NOT READ", error)
    said = engine.run(
        [
            "docker-compose",
            f"--project-directory={CHECKOUT}",
            f"--file={CHECKOUT}/docker-compose.yml",
            f"--env-file={CHECKOUT}/deploy/docker/sandbox.env",
            "--profile=monitoring",
            "config",
        ],
        {**os.environ, "FARMHAUL_STORAGE": "/mnt/prod"},
        timeout_s=60,
    )
    config = yaml.safe_load(said)

    for name in ("prometheus", "grafana"):
        service = config["services"][name]
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert [port for port in service["ports"] if not str(port).startswith("127.0.0.1:")] == []
        mounts = [mount.split(":")[0] for mount in service["volumes"] if mount[0] == "/"]
        assert mounts
        assert [mount for mount in mounts if not Path(mount).is_file()] == []
    source = yaml.safe_load((MONITORING / "grafana" / "datasources.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    [folder] = yaml.safe_load((MONITORING / "grafana" / "dashboards.yml").read_text())["providers"]
    shown = [mount.split(":")[1] for mount in config["services"]["grafana"]["volumes"]]
    assert f"{folder['options']['path']}/farmhaul.json" in shown
