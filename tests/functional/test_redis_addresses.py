"""All parts of farmhaul reach Redis by TLS, with client certificates, and by its socket."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.docker.certificate import make_certificate, make_client_certificate
from tests.farm import BIN, Farm, Upload, wait_until
from tests.helpers.tls_front import tls_front
from tests.sandbox import RedisServer, Sandbox
from tests.sandbox.process import CHECKOUT

#: What asks Redis, and a part of its answer.
CHECKS = {
    "status": '"upload_id": ',
    "retry": " pending",
    "fetch": '"state": "queued"',
    "doctor": '"what": "redis", "says": "version',
    "exporter, health and Flower": "farmhaul_redis_up 1\nhealth 0\nFlower 0\n",
}
IN_ONE_PROCESS = """
import asyncio, runpy, sys
import flower.options
from prometheus_client import CollectorRegistry
from tasks.config.settings import Settings
from tasks.records.fail_fast import fail_fast_redis
from workers import health
from workers.exporter import FarmCollector
registry = CollectorRegistry()
registry.register(FarmCollector(fail_fast_redis(Settings.from_environment())))
print("farmhaul_redis_up", registry.get_sample_value("farmhaul_redis_up"))
print("health", health.main(sys.argv[1:]))
queues = runpy.run_path("deploy/flower/flowerconfig.py")["Queues"]()
print("Flower", asyncio.run(queues.queues(["farmhaul:inbox"]))[0]["messages"])
"""


@pytest.mark.parametrize("address", ["TLS", "socket"])
def test_a_farm_uploads_with_any_address_of_redis(
    address: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    certificate, authority = tmp_path / "server.pem", tmp_path / "ca.pem"
    make_certificate(["localhost"], authority, certificate)
    own = tmp_path / "client.pem"
    make_client_certificate(own)
    extra = [f"unixsocket {tmp_path}/redis.sock"]
    server = RedisServer(tmp_path / "redis", password="p:w", extra=extra)
    server.start()
    try:
        with tls_front(server.port, certificate, authority=own) as port:
            files = f"ssl_ca_certs={authority}&ssl_certfile={own}"
            urls = {
                "TLS": f"rediss://:p%3Aw@localhost:{port}/1?{files}",
                "socket": f"unix://:p%3Aw@{tmp_path}/redis.sock?db=1",
            }
            farm = Farm(sandbox, tmp_path / "farm", 1)
            for env in (farm.env, *(worker.env for worker in farm.workers)):
                env["FARMHAUL_REDIS_URL"] = urls[address]
            farm.redis = server.client()
            farm.redis.select(1)
            with farm:
                upload = farm.upload(content=200_000)
                farm.wait_located([upload.id])
                done = others(farm, upload, CHECKS if address == "TLS" else ["status"])
                log = farm.workers[0].log_text()
    finally:
        server.stop()

    for name, one in done.items():
        assert (name, one.stderr) == (name, "")
        assert one.returncode in {0, int(name == "doctor")}, name
        assert CHECKS[name] in one.stdout, name
    assert "insecure" not in log


def others(
    farm: Farm, upload: Upload, names: Iterable[str]
) -> dict[str, subprocess.CompletedProcess[str]]:
    """Run these parts of farmhaul at once."""
    name = f"w1@{socket.gethostname()}"
    if len([*names]) > 1:
        wait_until(lambda: farm.redis.zscore("farmhaul:workers", name))
    storage = str(upload.path.parent)
    commands: dict[str, list[str | Path]] = {
        "status": [BIN / "farmhaul", "status", upload.id],
        "retry": [BIN / "farmhaul", "retry", upload.id],
        "fetch": [BIN / "farmhaul", "fetch", upload.component_id, "--to", storage, "--enqueue"],
        "doctor": [BIN / "farmhaul", "doctor"],
        "exporter, health and Flower": [BIN / "python", "-c", IN_ONE_PROCESS, name],
    }
    ours = {"FARMHAUL_FLOWER_OPEN": "yes", "FLOWER_DB": f"{farm.folder}/flower"}
    running = {
        name: subprocess.Popen(
            command, cwd=CHECKOUT, env={**farm.environment(farm.workers[0].env), **ours},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name, command in commands.items()
        if name in names
    }  # fmt: skip
    output = {name: one.communicate(timeout=60) for name, one in running.items()}
    return {
        name: subprocess.CompletedProcess(name, one.returncode, *output[name])
        for name, one in running.items()
    }
