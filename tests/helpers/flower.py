"""Flower as it is shipped, on loopback, and what it answers."""

from __future__ import annotations

import base64
import http.client
from pathlib import Path

from tests.farm import BIN
from tests.sandbox.process import CHECKOUT, Child, accepts, free_ports

LOGIN = "operator:a-password-of-the-test"


class Flower:
    """Flower with the shipped settings, and with a login unless *settings* say otherwise."""

    def __init__(self, folder: Path, redis_url: str, **settings: str) -> None:
        [self.port] = free_ports(1)
        self.redis_url = redis_url
        config = CHECKOUT / "deploy/flower/flowerconfig.py"
        options = (f"--conf={config}", f"--port={self.port}", "--address=127.0.0.1")
        env = {"FLOWER_BASIC_AUTH": LOGIN, "FLOWER_DB": f"{folder}/state"}
        env |= {"FARMHAUL_REDIS_URL": redis_url, **settings}
        command: list[str | Path] = [BIN / "celery", "-A", "workers", "flower", *options]
        self.child = Child("flower", command, folder / "flower.log", env=env)
        self.child.wait_ready(lambda: accepts(self.port))

    def get(
        self,
        path: str,
        login: bytes = b"",
        method: str = "GET",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        words = dict(headers or {})
        if login:
            words["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        try:
            connection.request(method, path, headers=words)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()
