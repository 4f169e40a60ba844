"""Notices from a real worker to a real receiver."""

from __future__ import annotations

import json
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.farm import BIN, wait_until
from tests.functional.conftest import MakeFarm


@pytest.mark.slow  # it waits for the step, and for a farm of its own
def test_a_receiver_hears_what_failed_and_what_became_visible(make_farm: MakeFarm) -> None:
    heard: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.extend(json.loads(body)["events"])
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/hook"
        key = Fernet.generate_key().decode()
        farm = make_farm(env={"FARMHAUL_NOTIFY_URL": url, "FARMHAUL_SECRET_KEY": key})
        wait_until(lambda: farm.redis.exists("farmhaul:notices:wanted"))
        folder = farm.make_file("beauty.1001.exr", 1000).parent
        version = ("--version-id", farm.sandbox.ftrack.version_id, "--name")
        [publish] = farm.enqueue(folder, *version, "beauty")
        farm.wait_located([publish["upload_id"]])
        farm.sandbox.faults.add("store", "status", 413, method="PUT", times=1)
        [failed] = farm.enqueue(farm.make_file("big.exr", 1000), *version, "big")
        farm.wait_state([failed["upload_id"]], "failed")
        wait_until(lambda: len(heard) == 2)
        server.shutdown()

    visible, refused = heard
    assert (visible["event"], visible["upload_id"]) == ("publish_visible", publish["upload_id"])
    assert (refused["event"], refused["upload_id"]) == ("upload_failed", failed["upload_id"])
    assert refused["path"].endswith("/big.exr")
    assert url not in "".join(worker.log_text() for worker in farm.workers)


def test_the_key_of_notices_has_a_line_for_each_secret_key() -> None:
    keys = [Fernet.generate_key().decode() for _ in range(2)]
    command = [str(BIN / "farmhaul"), "key", "notify"]
    env = {"FARMHAUL_SECRET_KEY": ",".join(keys)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len({line.removeprefix("whsec_") for line in lines}) == 2
    assert not any(key.strip("=") in done.stdout for key in keys)
