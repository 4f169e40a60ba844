"""What ``farmhaul doctor`` finds in Redis of the farm: records, gates, workers and queues."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import redis
from kombu.transport.redis import Channel

from tasks.chain import QUEUE
from tasks.config.sealing import FERNET, Codec, message_codec
from tasks.config.settings import Settings
from tasks.records.keys import ALIVE, TOTALS, to_text, upload_key
from tasks.records.status import STATES, WORKER_S, Status
from tasks.transfer.errors import SealBrokenError
from workers.doctor.finding import Check, Finding

OLD_PENDING_S = 3600.0
#: A stage notes several times a lease that it goes on; a message may be queued for a while.
STUCK_S = 600.0
#: Of each state so many records are looked at.
SAMPLE = 20
#: For what is not sealed in any case.
NO_SEALS = Codec(())
GATE_STEPS = {
    "ftrack": "wait, it opens by itself; look at ftrack, and at the way there from the workers",
    "store": "wait, it opens by itself; look at the media store, and at the way there",
    "credentials": "correct FTRACK_API_USER and FTRACK_API_KEY on the workers, and restart them",
}


def _wake_up(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    """See that we may ring for workers; ``tasks.chain.wake`` doesn't fail when we may not."""
    del settings
    trial = f"{QUEUE}{Channel.sep}doctor"
    try:
        client.smembers(f"_kombu.binding.{QUEUE}")
        # At once, so that nobody sees a list beside those of the queue.
        pipeline = client.pipeline()
        pipeline.lpush(trial, "")
        pipeline.delete(trial)
        pipeline.execute()
    except redis.exceptions.NoPermissionError:
        says = "our Redis user may not: uploads wait until a worker looks by itself"
        step = (
            "where hooks enqueue, give it the rights of the hook's user in deploy/redis/users.acl"
        )
        yield Finding("warning", "wake-up", says, step)
    except redis.ResponseError:
        return  # full, or a replica: that is told elsewhere
    else:
        yield Finding("ok", "wake-up", "our Redis user may ring for workers")


def _secret(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    codec, status = message_codec(settings), Status(client, message_codec(settings))
    pipeline = client.pipeline(transaction=False)
    for upload_id in status.ids_in(STATES, limit=SAMPLE):
        pipeline.hget(upload_key(upload_id), "request")
    requests = [to_text(one) for one in pipeline.execute() if one]
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
    count = int(client.hget(TOTALS, "refused") or 0)
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
        yield Finding("ok", "workers", f"{len(workers)} take tasks: {_some(workers)}")
    else:
        step = "farmhaul worker; restart one that runs and logs not_consuming"
        yield Finding("fault", "workers", "none takes tasks", step)
    yield from _alive(client, workers)
    hosts = {name.partition("@")[2] for name in workers}
    backlog = status.backlog()
    for host in sorted({one.host for one in backlog if one.host} - hosts):
        step = f"start a worker on {host}, which alone sees these files"
        yield Finding("fault", "workers", f"none on {host}, for which uploads are pending", step)
    yield from _queue(sum(one.count for one in backlog), [one.oldest_s for one in backlog])
    yield from _stuck(status)


def _alive(client: redis.Redis, workers: list[str]) -> Iterator[Finding]:
    """Compare who is up with who takes tasks, and all their versions with our own."""
    from workers.health import VERSION

    now, _ = client.time()
    # In the order of time, so that of a worker that was upgraded the new version counts.
    rows = client.zrangebyscore(ALIVE, f"({now - WORKER_S}", "+inf")
    found = {name: version for version, _, name in (to_text(row).partition(" ") for row in rows)}
    if silent := sorted(found.keys() - set(workers)):
        step = "restart them; their logs say not_consuming, and what was before it"
        yield Finding("fault", "workers", f"up, and takes no tasks: {_some(silent)}", step)
    versions = {**dict.fromkeys(workers, "unknown"), **found}
    others = sorted(f"{name} {one}" for name, one in versions.items() if one != VERSION)
    if others:
        says = f"{len(others)} are of another version than {VERSION}: {_some(others)}"
        yield Finding("warning", "workers", says, "upgrade what is older, this node or them")


def _some(names: list[str]) -> str:
    return ", ".join([*names[:8], *(["…"] if names[8:] else [])])


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
    "wake-up": _wake_up,
    "secret": _secret,
    "refused": _refused,
    "gate": _gates,
    "workers": _farm,
}
