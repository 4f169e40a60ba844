"""The sink alone: it must not limit the other scenarios."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.bench.result import Result
from tests.bench.stand import Stand

SECONDS = 2.0


def run(stand: Stand, quick: bool) -> list[Result]:
    body = bytes(200_000)
    large = bytes(64 << 20)
    call = json.dumps(
        [
            {
                "action": "get_upload_metadata",
                "component_id": f"{number:08x}-0000-4000-8000-000000000000",
                "file_name": "a.exr",
                "file_size": 200_000,
                "checksum": "1B2M2Y8AsgTpgAmY7PhCfg==",
            }
            for number in range(50)
        ]
    ).encode()
    result = Result(
        "sink",
        "The sink alone",
        "One client over one connection, so the client's own time is included. CPU time is that of "
        "the sink.",
        ("", "per second", "sink CPU for each"),
    )
    seconds = SECONDS / 4 if quick else SECONDS
    for name, url, method, content, stats in (
        ("PUT of 200 kB", stand.sink.store_url, "PUT", body, stand.sink.store_stats),
        ("PUT of 64 MiB", stand.sink.store_url, "PUT", large, stand.sink.store_stats),
        ("API call that signs 50", f"{stand.sink.api_url}/api", "POST", call, stand.sink.api_stats),
    ):
        stand.sink.reset()
        speed = _speed(url, method, content, seconds)
        cpu_ms = 1000 * stats()["cpu_s"] / (speed * seconds)
        result.rows.append((name, f"{speed:.0f}", f"{cpu_ms:.2f} ms"))
    return [result]


def _speed(url: str, method: str, body: bytes, seconds: float) -> float:
    parts = urlsplit(url)
    client = http.client.HTTPConnection(str(parts.hostname), parts.port, blocksize=1 << 20)
    send: Callable[[], None] = lambda: client.request(method, parts.path or "/x", body)  # noqa: E731
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        send()
        client.getresponse().read()
        count += 1
    elapsed = time.perf_counter() - began
    client.close()
    return count / elapsed
