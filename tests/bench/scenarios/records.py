"""What people's pages and commands cost with 100,000 records, for docs/scaling.md."""

from __future__ import annotations

import base64
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

from cryptography.fernet import Fernet

from tasks.config.settings import Settings
from tasks.records import keys
from tasks.records.commands import LIVE_S
from tasks.records.scripts import Scripts, open_scripts
from tests.bench.measure import RedisUse
from tests.bench.result import Result, Target
from tests.bench.stand import Stand
from tests.farm import BIN
from tests.helpers.chromium import NoBrowser, chromium
from tests.helpers.many_records import FRAMES, fill, requests
from tests.sandbox.process import CHECKOUT, Child, accepts, free_ports

LOGIN = "operator:a-password-of-the-bench"
RUNS, WATCH_S = 5, 10
#: Frames and sequences: a sequence has a hundred files, which have records too.
MANY, FEW = (80_000, 200), (2000, 20)


class Cost(NamedTuple):
    """What one look takes."""

    seconds: float
    use: RedisUse
    page_bytes: int = 0

    def row(self, name: str) -> tuple[str, ...]:
        return (
            name,
            f"{1000 * self.seconds:.0f}" if self.seconds else "",
            f"{self.use.total_calls}",
            f"{self.use.bytes_out / 1000:.1f}",
            f"{self.page_bytes / 1000:.1f}" if self.page_bytes else "",
        )


def run(stand: Stand, quick: bool) -> list[Result]:
    frames, sequences = FEW if quick else MANY
    key = Fernet.generate_key().decode()
    stand.redis.flush()
    settings = Settings(stand.redis.url, secret_keys=(key,))
    scripts = open_scripts(settings, stand.client)
    fill(scripts, frames, sequences)
    stand.client.config_resetstat()
    env = {"FARMHAUL_REDIS_URL": stand.redis.url, "FARMHAUL_SECRET_KEY": key}
    records = frames + sequences * (FRAMES + 1)
    index = _index(scripts, records)
    result = Result(
        "records",
        f"What people's pages cost with {records:,} records",
        f"Sealed records on a Redis of their own: {frames:,} frames that came one by one, and "
        f"{sequences} sequences of {FRAMES}. Medians of {RUNS}; a command is started cold.",
        ("", "ms", "Redis commands", "kB from Redis", "kB of the page"),
    )
    with _flower(stand, env) as url:
        for name, path in _pages(stand.client):
            result.rows.append(_middle(partial(_get, stand, url, path)).row(name))
        found_s = _in_chromium(url)
    for command in ("status --shot /mnt/show/sq007/sh0007", "status sh0007 --failed", "status"):
        cost = _middle(partial(_command, stand, env, command))
        result.rows.append(cost.row(f"farmhaul {command}"))
    result.rows.append(_watch(stand, env).row("farmhaul watch, a second"))
    if found_s:
        result.targets = [
            Target("from the last key to the shot, in Chromium", found_s, "<= 1", " s")
        ]
    result.notes = index
    stand.redis.flush()
    return [result]


def _index(scripts: Scripts, records: int) -> list[str]:
    """Return what the index of terms costs for an upload: its commands, and its memory."""
    client: Any = scripts.client
    uploads = sum(client.zcard(keys.state_key(state)) for state in ("located", "pending"))
    used = 0
    for pattern in (f"{keys.TERM}*", f"{keys.GROUP}*"):
        pipeline = client.pipeline(transaction=False)
        for key in client.scan_iter(pattern, 1000):
            pipeline.memory_usage(key, samples=0)
        used += sum(pipeline.execute())
    notes = [
        f"{RedisUse.look(client).memory / records:.0f} bytes of Redis for a record",
        f"{used / uploads:.0f} bytes of the index for an upload",
    ]
    for what, some in (
        ("the next frame of a shot", [*islice(requests(FRAMES // 2), 1, None)]),
        ("the first file of a folder", [_elsewhere(n) for n in range(50)]),
    ):
        before = RedisUse.look(client)
        for request in some:
            entry = scripts.hasher.entry(request)._asdict()
            index_s = scripts.ttl_s + LIVE_S
            scripts.run("add_to_index", id=request.upload_id, found_by=entry, index_s=index_s)
        use = RedisUse.look(client).since(before)
        calls = use.total_calls - sum(use.calls.get(name, 0) for name in ("evalsha", "script|load"))
        notes.append(f"commands of the index for {what}: {calls / len(some):.1f}")
    return notes


def _elsewhere(number: int) -> Any:
    [request] = requests(1)
    return request._replace(path=f"/mnt/other/sq{number}/sh{number}/plate/v001/a.{1001}.exr")


def _pages(client: Any) -> list[tuple[str, str]]:
    retrying, located = (
        client.zrange(keys.state_key(state), 0, 0)[0] for state in ("retrying", "located")
    )
    publish = client.zrange(keys.state_key("located"), -1, -1)[0]
    version = "00000000-0000-0000-0000-000000000008"
    return [
        ("Uploads", "uploads"),
        ("Uploads, far down the located ones", "uploads?state=located&start=1500"),
        ("a shot: sh0007", "uploads?q=sh0007"),
        ("a frame: sh0007_beauty_v008.1042.exr", "uploads?q=sh0007_beauty_v008.1042.exr"),
        ("a folder: /mnt/show/sq007", "uploads?q=/mnt/show/sq007"),
        ("a version", f"uploads?q=version:{version}"),
        ("a host: host:node007", "uploads?q=host:node007"),
        ("a user's failed ones: user:ada state:failed", "uploads?q=user:ada+state:failed"),
        ("a word that all have: beauty", "uploads?q=beauty"),
        ("a word that none has", "uploads?q=nothing"),
        ("an upload that waits", f"upload/{retrying}"),
        ("an upload that is located", f"upload/{located}"),
        ("a sequence", f"upload/{publish}"),
        ("a version's page", f"uploads/version/{version}"),
        ("Farm", "farm"),
    ]


@contextmanager
def _flower(stand: Stand, env: dict[str, str]) -> Iterator[str]:
    [port] = free_ports(1)
    config = CHECKOUT / "deploy/flower/flowerconfig.py"
    options = [f"--conf={config}", f"--port={port}"]
    ours = {"FLOWER_BASIC_AUTH": LOGIN, "FLOWER_DB": str(stand.folder / "flower")}
    child = Child(
        "flower",
        [BIN / "celery", "-A", "workers", "flower", *options],
        stand.folder / "flower.log",
        env=env | ours,
    )
    try:
        child.wait_ready(lambda: accepts(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop(20)


def _middle(look: Callable[[], Cost]) -> Cost:
    """Return the middle of a few looks by time, after one that warms up."""
    look()
    costs = sorted((look() for _ in range(RUNS)), key=lambda cost: cost.seconds)
    return costs[RUNS // 2]


def _since(stand: Stand, before: RedisUse) -> RedisUse:
    """Return what Redis has done since a look, without what that look has cost."""
    now = RedisUse.look(stand.client)
    use, of_a_look = now.since(before), RedisUse.look(stand.client).since(now)
    return replace(use, bytes_out=use.bytes_out - of_a_look.bytes_out)


def _get(stand: Stand, url: str, path: str) -> Cost:
    request = urllib.request.Request(f"{url}/{path}")
    request.add_header("Authorization", f"Basic {base64.b64encode(LOGIN.encode()).decode()}")
    before, began = RedisUse.look(stand.client), time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        page = answer.read()
    seconds = time.perf_counter() - began
    return Cost(seconds, _since(stand, before), len(page))


def _command(stand: Stand, env: dict[str, str], text: str) -> Cost:
    before, began = RedisUse.look(stand.client), time.perf_counter()
    subprocess.run(
        [BIN / "farmhaul", *text.split()], env=os.environ | env, check=True, capture_output=True
    )
    seconds = time.perf_counter() - began
    return Cost(seconds, _since(stand, before))


def _watch(stand: Stand, env: dict[str, str]) -> Cost:
    """Return what a second of ``farmhaul watch`` costs, which then polls."""
    child = Child("watch", [BIN / "farmhaul", "watch"], stand.folder / "watch.log", env=env)
    try:
        time.sleep(3)
        before = RedisUse.look(stand.client)
        time.sleep(WATCH_S)
        use = _since(stand, before)
    finally:
        child.stop(10)
    calls = {name: round(count / WATCH_S) for name, count in use.calls.items()}
    return Cost(0, replace(use, calls=calls, bytes_out=use.bytes_out // WATCH_S))


def _in_chromium(url: str) -> float | None:
    """Return the seconds from the last key of a search to what it finds; None without Chromium."""
    user, _, password = LOGIN.partition(":")
    try:
        with chromium() as browser:
            login = {"username": user, "password": password}
            page = browser.new_context(http_credentials=login).new_page()
            page.goto(f"{url}/uploads")
            seconds = []
            for shot in range(RUNS):
                page.locator("#fh-query").fill(f"sh{shot:04}")
                began = time.perf_counter()
                page.get_by_role("link", name=f"sh{shot:04}_beauty").first.wait_for()
                seconds.append(time.perf_counter() - began)
            return median(seconds)
    except NoBrowser:
        return None
