"""What ``farmhaul doctor`` finds of Redis, the server; and what a finding is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import redis

from tasks.config.settings import Settings
from tasks.transfer.models import LOOPBACK
from workers.doctor.finding import Finding, skew
from workers.wording import size

#: ZRANGE with REV, as tasks.records.status reads, came with 6.2: https://redis.io/docs/latest/commands/zrange/
OLDEST_REDIS = (6, 2)
#: A stage asks Redis some ten times for each batch: at 20 ms that begins to show.
SLOW_REDIS_S = 0.02
FULL_WARNING, FULL_FAULT = 0.8, 0.95


def server(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    """Look at the server: its version, role and speed, what it keeps, its clock."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        client.ping()
        times.append(time.perf_counter() - began)
    trip_s, info = statistics.median(times), client.info()
    version = str(info.get("redis_version", "0.0"))
    if trip_s > SLOW_REDIS_S:
        step = "put Redis near the workers; look at its CPU and redis-cli --latency"
        yield Finding("warning", "redis", f"a round trip takes {trip_s * 1000:.0f} ms", step)
    if tuple(int(one) for one in version.split(".")[:2]) < OLDEST_REDIS:
        yield Finding("fault", "redis", f"version {version} is too old", "install 6.2 or later")
    if info.get("role") != "master":
        step = "point FARMHAUL_REDIS_URL to the master, or to the sentinels"
        yield Finding("fault", "redis", "it is a replica, which cannot be written", step)
    yield Finding("ok", "redis", f"version {version} answers in {trip_s * 1000:.1f} ms")
    yield from _in_the_clear(settings.redis_url)
    yield from _persistence(info)
    yield from _memory(info)
    seconds, micros = client.time()
    yield from skew("Redis", seconds + micros / 1e6, settings)


def _in_the_clear(url: str) -> Iterator[Finding]:
    scheme, host = urlsplit(url).scheme, urlsplit(url.partition(",")[0]).hostname or ""
    if scheme != "rediss" and host not in LOOPBACK:
        step = "rediss:// and a certificate on Redis, where others share the network"
        yield Finding("warning", "redis", f"what is said to {host} can be read on the way", step)


def _persistence(info: dict[str, Any]) -> Iterator[Finding]:
    if not info.get("aof_enabled"):
        step = "redis-cli CONFIG SET appendonly yes, and appendonly yes in redis.conf"
        yield Finding("fault", "aof", "off: a restart of Redis loses uploads", step)
    elif info.get("aof_last_write_status") != "ok":
        yield Finding("fault", "aof", "Redis cannot write it", "look at the disk Redis writes to")
    else:
        yield Finding("ok", "aof", "on")


def _memory(info: dict[str, Any]) -> Iterator[Finding]:
    # A hosted Redis may leave some of it out.
    policy = info.get("maxmemory_policy", "an unknown policy")
    used, most = info.get("used_memory", 0), info.get("maxmemory", 0)
    if policy != "noeviction":
        step = "redis-cli CONFIG SET maxmemory-policy noeviction, and so in redis.conf"
        yield Finding("fault", "memory", f"{policy} may evict records", step)
    full = used / most if most else 0.0
    says = f"{size(used)} used" + (f" of {size(most)}" if most else ", no maxmemory")
    if full > FULL_WARNING:
        level = "fault" if full > FULL_FAULT else "warning"
        yield Finding(level, "memory", says, "raise maxmemory; lower FARMHAUL_RECORD_DAYS")
    else:
        yield Finding("ok", "memory", says)
