"""Doctor's checks of the farm in Redis: records, refusals, gates, workers and queues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import redis
from kombu.transport.redis import Channel

from tasks.chain import QUEUE
from tasks.config.environment import MAKE_KEY
from tasks.config.hook_settings import HookSettings
from tasks.config.sealing import FERNET, message_codec
from tasks.intake.ranges import some_of
from tasks.records.inbox import waiting
from tasks.records.keys import ALIVE, RETRYING, TOTALS, WORKERS, to_text, upload_key
from tasks.records.nodes import IS_LOCAL, NodeFault, heard_lately
from tasks.records.numbers import number
from tasks.records.refusals import read as read_refusals
from tasks.records.states import STAGES, UPLOAD_STATES
from tasks.records.unread import unread
from tasks.transfer.errors import OwnSettingsError, SealBrokenError
from workers.doctor.finding import Check, Farm, Finding, Level
from workers.wording import MOST_LINES, NO_SHARING, redis_refuses, refused_row, what_it_does

OLD_PENDING_S = 3600.0
#: Workers take an entry in at once; after this time, the one of a worker that has died.
OLD_ENTRY_S = 10.0
#: A stage renews its uploads several times a lease, but its message may be queued for a while.
STUCK_S = 600.0
#: How many records of each state are read.
SAMPLE = 20
#: By what is wrong with a node.
NODE_STEPS = {
    "files": "check its mounts, FARMHAUL_STORAGE_ROOTS and FARMHAUL_PATH_MAP; it goes on by itself",
    "locations": "set FARMHAUL_LOCATIONS there as on the other nodes, and restart its worker",
    "records": "set FARMHAUL_SECRET_KEY there as on the other nodes, and restart its worker",
    "ftrack": "correct there what is named, or else FTRACK_SERVER, the login, proxy or network",
    "store": "check its network, proxy and certificates; it goes on by itself",
    "clock": "set its clock by NTP: timedatectl status; it goes on by itself",
    "version": "upgrade the nodes that have the older version",
    **dict.fromkeys(STAGES, "read its log, check its memory and its installation, and restart it"),
}
GATE_STEPS = {
    "ftrack": "wait, the gate opens by itself; check ftrack, and the network to it",
    "store": "wait, the gate opens by itself; check the media store, and the network to it",
    "credentials": "correct FTRACK_API_USER and FTRACK_API_KEY on the workers, and restart them",
}


def _wake_up(farm: Farm) -> Iterator[Finding]:
    """Check that this Redis user may wake workers; ``tasks.chain.wake`` ignores a refusal."""
    trial = f"{QUEUE}{Channel.sep}doctor"
    try:
        farm.client.smembers(f"_kombu.binding.{QUEUE}")
        # In one transaction, so that nobody sees a list that does not belong to the queue.
        pipeline = farm.client.pipeline()
        pipeline.lpush(trial, "")
        pipeline.delete(trial)
        pipeline.execute()
    except redis.exceptions.NoPermissionError:
        says = "this Redis user may not wake workers: uploads wait for the reconciler"
        step = "for operators, give the user the rights of the operator in deploy/redis/users.acl"
        yield Finding("warning", "wake-up", says, step)
    except redis.ResponseError:
        return  # full, or a replica: other checks report that
    else:
        yield Finding("ok", "wake-up", "this Redis user may wake workers")


def _secret(farm: Farm) -> Iterator[Finding]:
    """Check that this node's keys read the records, and that the records are sealed."""
    codec = message_codec(farm.settings)
    pipeline = farm.client.pipeline(transaction=False)
    for upload_id in farm.status.ids_in(UPLOAD_STATES, limit=SAMPLE):
        pipeline.hget(upload_key(upload_id), "request")
    requests = [to_text(request) for request in pipeline.execute() if request]
    plain = [request for request in requests if not request.startswith(FERNET)]
    unreadable = 0
    for request in requests:
        try:
            codec.decode(request)
        except SealBrokenError:
            unreadable += request not in plain
    has_key, has_hook_key = (
        bool(farm.settings.secret_keys),
        bool(HookSettings.from_environment().hook_keys),
    )
    if has_hook_key and not (has_key or plain or farm.settings.ftrack):
        yield Finding("ok", "secret", "not needed here: hooks sign with FARMHAUL_HOOK_KEY")
        return
    if unreadable:
        says = f"{unreadable} of {len(requests)} records checked cannot be read"
        says += "" if has_key else ", and FARMHAUL_SECRET_KEY is not set"
        step = (
            "set FARMHAUL_SECRET_KEY as on the other nodes; after a change, keep the old keys "
            "behind the new one"
        )
        yield Finding("fault", "secret", says, step)
    if not has_key and not unreadable:
        step = (
            f"make a key with {MAKE_KEY}; give it to workers and operators, "
            "and what farmhaul key hook prints to hooks"
        )
        says = "FARMHAUL_SECRET_KEY is not set: nothing is sealed"
        if not has_hook_key:
            says += ", and requests and messages are unsigned"
        yield Finding("fault", "secret", says, step)
    elif has_key and plain:
        says = (
            f"{len(plain)} of {len(requests)} records checked are not sealed; workers refuse them"
        )
        step = "set FARMHAUL_SECRET_KEY on all workers, then enqueue those uploads again"
        yield Finding("fault", "secret", says, step)
    elif not unreadable:
        reads = f"it reads all {len(requests)} records checked" if requests else "no records yet"
        yield Finding("ok", "secret", f"set; {reads}")


def _refusals(farm: Farm) -> Iterator[Finding]:
    fields = ("refused", "refused_requests")
    count, requests = (int(number(value)) for value in farm.client.hmget(TOTALS, fields))
    if requests:
        says = f"refused requests of hooks: {requests}{_most_refused(farm, {'request'})}"
        step = (
            "see requests_refused in the workers' logs: it names hosts and reasons; set "
            "FARMHAUL_HOOK_KEY there as farmhaul key hook prints it"
        )
        yield Finding("warning", "refusals", says, step)
    if count:
        says = f"refused messages or records: {count}{_most_refused(farm, {'message', 'record'})}"
        step = (
            "see message_refused and upload_refused in the workers' logs; compare "
            "FARMHAUL_SECRET_KEY on all workers; find out who else writes to Redis"
        )
        yield Finding("warning", "refusals", says, step)
    if not count + requests:
        yield Finding("ok", "refusals", "no request, message or record was refused")


def _most_refused(farm: Farm, what: set[str]) -> str:
    """Return the most frequent reasons and nodes."""
    found = [one for one in read_refusals(farm.client) if one.what in what]
    rows = [refused_row(one) for one in found]
    return f" ({some_of(rows, between='; ')})" if rows else ", none of them in the last day"


def _inbox(farm: Farm) -> Iterator[Finding]:
    """Check that workers take in what hooks have sent."""
    entries, oldest_s = waiting(farm.client)
    if oldest_s is not None and oldest_s > OLD_ENTRY_S:
        says = f"entries of hooks that are not taken in: {entries}, the oldest for {oldest_s:.0f} s"
        step = (
            "start workers; if they run, look for no_hook_key, redis_full and redis_away in their "
            "logs, and compare the clocks of hooks and Redis"
        )
        yield Finding("fault", "inbox", says, _if_redis_accepts(farm, step))
    else:
        yield Finding("ok", "inbox", f"entries of hooks to be taken in: {entries}")
    for one in unread(farm.client):
        why, _, step = one.why.partition("; ")
        yield Finding("fault", "inbox", f"{one.version} cannot read what hooks send: {why}", step)


def _if_redis_accepts(farm: Farm, step: str) -> str:
    """Return a step for workers, unless Redis refuses what they write: then what is wrong there."""
    return next(map(" ".join, redis_refuses(farm.client).items()), step)


def _gates(farm: Farm) -> Iterator[Finding]:
    closed = [gate for gate in farm.status.gates() if gate.closed]
    for gate in closed:
        since = datetime.fromtimestamp(gate.since).astimezone()
        says = f"closed for {gate.service} since {since:%Y-%m-%d %H:%M:%S %Z}"
        yield Finding("fault", "gate", says, GATE_STEPS[gate.service])
    if not closed:
        yield Finding("ok", "gate", "all gates are open: no outage is known")


def _reach(farm: Farm) -> Iterator[Finding]:
    """Report what keeps any node from ftrack or the store, as its retrying uploads say."""
    pipeline = farm.client.pipeline(transaction=False)
    for upload_id in farm.client.zrange(RETRYING, 0, SAMPLE - 1):
        pipeline.hmget(upload_key(to_text(upload_id)), "error_kind", "error")
    codec = message_codec(farm.settings)
    errors = {
        codec.unseal_text(to_text(error))
        for kind, error in pipeline.execute()
        if to_text(kind) == OwnSettingsError.__name__
    }
    for error in sorted(errors):
        says, _, step = error.partition("; ")
        yield Finding("fault", "reach", says, step or "run doctor on that node")
    if not errors:
        yield Finding("ok", "reach", "no upload waits for a setting or the network of a node")


def _workers(farm: Farm) -> Iterator[Finding]:
    """Check that workers take tasks, also on the hosts with node-local uploads."""
    workers, faults = farm.status.workers(), farm.status.node_faults()
    # One that is set aside takes messages of its own host only.
    aside = {fault.name for fault in faults if fault.extent == "all"}
    if takers := [name for name in workers if name not in aside]:
        yield Finding("ok", "workers", f"{len(takers)} take tasks: {some_of(takers)}")
    elif workers:
        step = "act on the findings about these nodes"
        yield Finding("fault", "workers", f"all {len(workers)} are set aside", step)
    else:
        step = "run farmhaul worker; restart a running worker that logs not_consuming"
        yield Finding("fault", "workers", "no worker takes tasks", _if_redis_accepts(farm, step))
    yield from _versions(farm, workers, faults)
    yield from _node_faults(faults)
    if workers and farm.status.lacks_sharing():
        yield Finding("fault", "workers", NO_SHARING, "run farmhaul worker without -Q")
    if lonely := farm.status.hosts_without(workers):
        # In one line: a hook can name any number of hosts.
        hosts = some_of(lonely)
        says = f"no worker on {hosts} takes tasks, but uploads of files there are pending"
        yield Finding("fault", "workers", says, f"start a worker on {hosts}, or cancel the uploads")


def _versions(farm: Farm, workers: Sequence[str], faults: Sequence[NodeFault]) -> Iterator[Finding]:
    """Compare the workers that are up with those that take tasks, and their versions with ours."""
    from workers.health import VERSION

    # In the order of time, so that an upgraded worker counts with its new version.
    rows = heard_lately(farm.client, ALIVE)
    found = {name: version for version, _, name in (row.partition(" ") for row in rows)}
    # One that has shut down stays in WORKERS for a while, because it may come back; one that runs
    # and takes no tasks does not.
    noted = {to_text(name).removesuffix(IS_LOCAL) for name in farm.client.zrange(WORKERS, 0, -1)}
    if silent := sorted(found.keys() - noted):
        step = "restart them; see not_consuming in their logs, and the lines before it"
        yield Finding("fault", "workers", f"running, but take no tasks: {some_of(silent)}", step)
    versions = {**dict.fromkeys(workers, "unknown"), **found}
    named = {fault.name for fault in faults}
    others = sorted(
        f"{name} {version}"
        for name, version in versions.items()
        if version != VERSION and name not in named
    )
    if others:
        says = f"{len(others)} have another version than this node's {VERSION}: {some_of(others)}"
        yield Finding("warning", "workers", says, "upgrade the older ones, or this node")


def _node_faults(faults: Sequence[NodeFault]) -> Iterator[Finding]:
    """Report the nodes that cannot do what others can, wherever they are."""
    for fault in faults[:MOST_LINES]:
        says = f"{fault.name} {what_it_does(fault)}: it {fault.why}"
        level: Level = "fault" if fault.extent == "all" else "warning"
        yield Finding(level, "nodes", says, NODE_STEPS.get(fault.what, NODE_STEPS["files"]))
    if (more := len(faults) - MOST_LINES) > 0:
        says, step = f"and {more} more have faults", "act on the findings about the first ones"
        yield Finding("warning", "nodes", says, step)


def _queue(farm: Farm) -> Iterator[Finding]:
    backlog = farm.status.backlog()
    count = sum(row.count for row in backlog)
    oldest_s = max((row.oldest_s for row in backlog), default=0.0)
    says = f"pending uploads: {count}, the oldest for {oldest_s:.0f} s"
    if oldest_s > OLD_PENDING_S:
        yield Finding("warning", "queue", says, "add workers, or act on the other findings")
    else:
        yield Finding("ok", "queue", says if count else "no upload is pending")


def _broken(farm: Farm) -> Iterator[Finding]:
    """Name records that hold what farmhaul does not write."""
    ids = farm.status.ids_in(UPLOAD_STATES, limit=SAMPLE)
    broken = [one.upload_id for one in farm.status.find(ids) if one and one.is_broken]
    repaired = int(number(farm.client.hget(TOTALS, "repaired")))
    if broken:
        says = f"{len(broken)} of {len(ids)} records checked are broken: {some_of(broken)}"
        yield Finding("fault", "records", says, f"run farmhaul status {broken[0]}")
    if repaired:
        says = f"broken keys and records that were repaired or failed: {repaired}"
        step = "see keys_repaired in the workers' logs; find out who else writes to Redis"
        yield Finding("warning", "records", says, step)
    if not broken and not repaired:
        says = f"all {len(ids)} records checked are whole" if ids else "no records yet"
        yield Finding("ok", "records", says)


def _uploads(farm: Farm) -> Iterator[Finding]:
    failed = farm.status.counts()["failed"]
    if failed:
        step = "run farmhaul status --failed, fix the causes, then farmhaul retry --failed"
        yield Finding("warning", "uploads", f"failed uploads: {failed}", step)
    stuck = farm.status.silent_for(STUCK_S, SAMPLE)
    if stuck:
        says = (
            f"{len(stuck)} of the {SAMPLE} uploads that have been active longest were not renewed "
            f"for {STUCK_S:.0f} s, such as {stuck[0]}"
        )
        step = f"run farmhaul status {stuck[0]}, and look at the log of that worker"
        yield Finding("warning", "uploads", says, step)
    if not failed and not stuck:
        yield Finding("ok", "uploads", "none has failed or is stuck")


CHECKS: dict[str, Check] = {
    "wake-up": _wake_up,
    "secret": _secret,
    "refusals": _refusals,
    "inbox": _inbox,
    "gate": _gates,
    "reach": _reach,
    "workers": _workers,
    "queue": _queue,
    "records": _broken,
    "uploads": _uploads,
}
