"""Doctor's checks of the Redis server: version, speed, TLS, persistence, memory, clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

from tasks.config.redis_url import parse_redis_url
from tasks.intake.answer import size
from tasks.transfer.addresses import LOOPBACK
from workers.doctor.finding import Farm, Finding, Level, skew

#: ZRANGE with REV, which tasks.records.status uses, came with 6.2:
#: https://redis.io/docs/latest/commands/zrange/
OLDEST_REDIS = (6, 2)
#: A stage asks Redis about ten times for each batch: from 20 ms on, that slows uploads down.
SLOW_REDIS_S = 0.02
#: Shares of maxmemory.
FULL_WARNING, FULL_FAULT = 0.8, 0.95


def server(farm: Farm) -> Iterator[Finding]:
    """Check the server's version, role and speed, what it keeps, and its clock."""
    client = farm.client
    times_s = []
    for _ in range(5):
        began = time.perf_counter()
        client.ping()
        times_s.append(time.perf_counter() - began)
    trip_s, info = statistics.median(times_s), client.info()
    version = str(info.get("redis_version", "0.0"))
    if trip_s > SLOW_REDIS_S:
        step = "run Redis near the workers; look at its CPU and at redis-cli --latency"
        yield Finding("warning", "redis", f"a round trip takes {trip_s * 1000:.0f} ms", step)
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST_REDIS:
        yield Finding("fault", "redis", f"version {version} is too old", "install 6.2 or later")
    if info.get("role") != "master":
        step = "set FARMHAUL_REDIS_URL to the master, or to the sentinels"
        yield Finding("fault", "redis", "this Redis is a replica and cannot be written", step)
    yield Finding("ok", "redis", f"version {version} answers in {trip_s * 1000:.1f} ms")
    yield from _encryption(farm.settings.redis_url)
    yield from _persistence(info)
    yield from _memory(info)
    seconds, micros = client.time()
    yield from skew("Redis", seconds + micros / 1e6, farm.settings)


def _encryption(text: str) -> Iterator[Finding]:
    url = parse_redis_url(text)
    hosts = ", ".join(host for host, _ in url.hosts if host not in LOOPBACK)
    if hosts and not url.has_tls:
        tls = "ssl=true in the URL" if url.scheme == "sentinel" else "rediss://"
        step = f"use {tls} and give Redis a certificate, unless you trust the whole network"
        yield Finding("warning", "redis", f"the connection to {hosts} is not encrypted", step)


def _persistence(info: dict[str, Any]) -> Iterator[Finding]:
    if not info.get("aof_enabled"):
        step = "redis-cli CONFIG SET appendonly yes, and write appendonly yes into redis.conf"
        yield Finding("fault", "aof", "off: a restart of Redis loses uploads", step)
    elif info.get("aof_last_write_status") != "ok":
        step = "look at the disk that Redis writes to"
        yield Finding("fault", "aof", "Redis cannot write its append-only file", step)
    else:
        yield Finding("ok", "aof", "on")


def _memory(info: dict[str, Any]) -> Iterator[Finding]:
    # A hosted Redis may leave out some of these fields.
    policy = info.get("maxmemory_policy", "an unknown policy")
    used, most = info.get("used_memory", 0), info.get("maxmemory", 0)
    if policy != "noeviction":
        step = (
            "redis-cli CONFIG SET maxmemory-policy noeviction, and write maxmemory-policy "
            "noeviction into redis.conf"
        )
        yield Finding("fault", "memory", f"{policy} may evict records", step)
    full = used / most if most else 0.0
    says = f"{size(used)} used" + (f" of {size(most)}" if most else ", no maxmemory")
    if full > FULL_WARNING:
        level: Level = "fault" if full > FULL_FAULT else "warning"
        yield Finding(level, "memory", says, "raise maxmemory, or lower FARMHAUL_RECORD_DAYS")
    else:
        yield Finding("ok", "memory", says)
