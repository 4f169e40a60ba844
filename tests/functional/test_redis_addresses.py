"""Hooks, workers and operators reach Redis by TLS and by its socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docker.certificate import make_certificate
from tests.farm import Farm
from tests.helpers.tls_front import tls_front
from tests.sandbox import RedisServer, Sandbox


@pytest.mark.parametrize("address", ["TLS", "socket"])
def test_a_farm_uploads_with_any_address_of_redis(
    address: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    certificate, authority = tmp_path / "server.pem", tmp_path / "ca.pem"
    make_certificate(["localhost"], authority, certificate)
    extra = [f"unixsocket {tmp_path}/redis.sock"]
    server = RedisServer(tmp_path / "redis", password="p:w", extra=extra)
    server.start()
    try:
        with tls_front(server.port, certificate) as port:
            urls = {
                "TLS": f"rediss://:p%3Aw@localhost:{port}/1?ssl_ca_certs={authority}",
                "socket": f"unix://:p%3Aw@{tmp_path}/redis.sock?db=1",
            }
            farm = Farm(sandbox, tmp_path / "farm", 1)
            for env in (farm.env, *(worker.env for worker in farm.workers)):
                env["FARMHAUL_REDIS_URL"] = urls[address]
            farm.redis = server.client()
            farm.redis.select(1)
            with farm:
                upload = farm.upload(content=200_000)
                done = farm.cli("status", upload.id, "--json")
                farm.wait_located([upload.id])
    finally:
        server.stop()

    assert done.returncode == 0, done.stderr
    assert upload.id in done.stdout
