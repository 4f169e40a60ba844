"""What ``farmhaul doctor`` finds in Redis: the server, the records, the workers and queues."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import redis

from tasks.codec import FERNET, Codec, message_codec
from tasks.record import PREFIX, text, upload_key
from tasks.settings import Settings
from tasks.status import STATES, Status
from tasks.transfer.errors import SealBrokenError
from workers import report

#: ZRANGE with REV, as tasks.status reads, came with 6.2: https://redis.io/docs/latest/commands/zrange/
OLDEST_REDIS = (6, 2)
#: A stage asks Redis some ten times for each batch: at 20 ms that begins to show.
SLOW_REDIS_S = 0.02
FULL_WARNING, FULL_FAULT = 0.8, 0.95
#: The Date header counts whole seconds, and an answer is under way for some of one.
SKEW_WARNING_S = 5.0
OLD_PENDING_S = 3600.0
#: A stage notes several times a lease that it goes on; a message may be queued for a while.
STUCK_S = 600.0
#: Of each state so many records are looked at.
SAMPLE = 20
#: For what is not sealed in any case.
NO_SEALS = Codec(())
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
GATE_STEPS = {
    "ftrack": "wait, it opens by itself; look at ftrack, and at the way there from the workers",
    "store": "wait, it opens by itself; look at the media store, and at the way there",
    "credentials": "correct FTRACK_API_USER and FTRACK_API_KEY on the workers, and restart them",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look has shown; a fault and most warnings have a next step."""

    level: str
    what: str
    says: str
    next: str = ""

    def line(self, *, human: bool) -> str:
        """Write it for a person, or as a line of JSON."""
        if not human:
            return json.dumps(asdict(self))
        line = f"{self.level:<8} {self.what:<9} {self.says}"
        return f"{line}\n{'':<18} next: {self.next}" if self.next else line


Check = Callable[[Settings, redis.Redis], Iterator[Finding]]


def skew(what: str, theirs_s: float, settings: Settings) -> Iterator[Finding]:
    """Compare this node's clock with another's; silent when they agree."""
    skew_s = abs(time.time() - theirs_s)
    # Workers compare the times of each other's leases (kombu's unacked_index).
    level = "fault" if skew_s > settings.lease_s / 2 else "warning"
    if skew_s > SKEW_WARNING_S:
        says = f"this node's clock and that of {what} are {skew_s:.0f} s apart"
        yield Finding(level, "clock", says, "set both by NTP: timedatectl status")


# The server


def _server(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
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
    says = f"{report.size(used)} used" + (f" of {report.size(most)}" if most else ", no maxmemory")
    if full > FULL_WARNING:
        level = "fault" if full > FULL_FAULT else "warning"
        yield Finding(level, "memory", says, "raise maxmemory; lower FARMHAUL_RECORD_DAYS")
    else:
        yield Finding("ok", "memory", says)


# Records, workers and queues


def _secret(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    codec, status = message_codec(settings), Status(client, message_codec(settings))
    pipeline = client.pipeline(transaction=False)
    for upload_id in status.ids_in(STATES, limit=SAMPLE):
        pipeline.hget(upload_key(upload_id), "request")
    requests = [text(one) for one in pipeline.execute() if one]
    plain = [one for one in requests if not one.startswith(FERNET)]
    unreadable = 0
    for one in requests:
        try:
            codec.decode(one)
        except SealBrokenError:
            unreadable += one not in plain
    if unreadable:
        says = f"cannot read {unreadable} of the {len(requests)} records looked at"
        step = "set FARMHAUL_SECRET_KEY as on the other nodes; keep old keys after the new one"
        yield Finding("fault", "secret", says, step)
    if not settings.secret_keys:
        step = "make a key with cryptography's Fernet.generate_key, and set it on all nodes"
        yield Finding("fault", "secret", "FARMHAUL_SECRET_KEY is not set: nothing is sealed", step)
    elif plain:
        says = f"{len(plain)} of the {len(requests)} records looked at are not sealed, so refused"
        step = "set FARMHAUL_SECRET_KEY on all hooks; enqueue those uploads again"
        yield Finding("fault", "secret", says, step)
    elif not unreadable:
        yield Finding("ok", "secret", f"set; reads all of the {len(requests)} records looked at")


def _refused(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    del settings
    count = int(client.hget(f"{PREFIX}totals", "refused") or 0)
    if count:
        says = f"{count} messages and records of nobody of ours were refused"
        step = (
            "see message_refused and upload_refused in the workers' logs; compare "
            "FARMHAUL_SECRET_KEY on all nodes; look who else writes to Redis"
        )
        yield Finding("warning", "refused", says, step)
    else:
        yield Finding("ok", "refused", "no message or record was")


def _gates(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    del settings
    closed = [gate for gate in Status(client, NO_SEALS).gates() if gate.closed]
    for gate in closed:
        since = datetime.fromtimestamp(gate.since).astimezone()
        says = f"closed for {gate.service} since {since:%Y-%m-%d %H:%M:%S}"
        yield Finding("fault", "gate", says, GATE_STEPS[gate.service])
    if not closed:
        yield Finding("ok", "gate", "all are open: no outage is known")


def _farm(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    del settings
    status = Status(client, NO_SEALS)
    workers = status.workers()
    if workers:
        yield Finding("ok", "workers", f"{len(workers)} take tasks: {', '.join(workers[:8])}")
    else:
        step = "farmhaul worker; restart one that runs and logs not_consuming"
        yield Finding("fault", "workers", "none takes tasks", step)
    hosts = {name.partition("@")[2] for name in workers}
    backlog = status.backlog()
    for host in sorted({one.host for one in backlog if one.host} - hosts):
        step = f"start a worker on {host}, which alone sees these files"
        yield Finding("fault", "workers", f"none on {host}, for which uploads are pending", step)
    yield from _queue(sum(one.count for one in backlog), [one.oldest_s for one in backlog])
    yield from _stuck(status)


def _queue(count: int, ages_s: list[float]) -> Iterator[Finding]:
    oldest_s = max(ages_s, default=0.0)
    says = f"{count} uploads pending, the oldest for {oldest_s:.0f} s"
    if oldest_s > OLD_PENDING_S:
        yield Finding("warning", "queue", says, "add workers, or see what the other lines say")
    else:
        yield Finding("ok", "queue", says if count else "no upload is pending")


def _stuck(status: Status) -> Iterator[Finding]:
    failed = status.counts()["failed"]
    if failed:
        step = "farmhaul status --failed, mend, farmhaul retry --failed"
        yield Finding("warning", "uploads", f"{failed} have failed", step)
    stuck = status.silent_for(STUCK_S, SAMPLE)
    if stuck:
        which = f"{len(stuck)} of the {SAMPLE} longest active"
        says = f"{which} are silent for {STUCK_S:.0f} s: {stuck[0]}"
        step = f"farmhaul status {stuck[0]}; look at that worker's log"
        yield Finding("warning", "uploads", says, step)
    if not failed and not stuck:
        yield Finding("ok", "uploads", "none has failed or is stuck")


CHECKS: dict[str, Check] = {
    "redis": _server,
    "secret": _secret,
    "refused": _refused,
    "gate": _gates,
    "workers": _farm,
}
