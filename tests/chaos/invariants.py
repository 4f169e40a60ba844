"""What has to be true when all is healed and done, whatever went wrong before.

A ``client`` is a redis.Redis with decode_responses, of which its types know nothing: Any.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.records.states import ENDED, LIVE, MOVES, STATES
from tests.chaos.renders import Render
from tests.farm import Farm

#: Keys that may stay for ever: the indexes of ``tasks/records/record.py``, and kombu's bindings.
LASTING = (
    *("farmhaul:state:", "farmhaul:file:", "farmhaul:hosts", "farmhaul:jobs", "farmhaul:totals"),
    *("farmhaul:workers", "farmhaul:answers", "farmhaul:asked", "_kombu.binding"),
)

#: All nodes of a test share the queue of one host, so a message comes back to one by chance,
#: several times. If nobody takes it, it is sent 50 times a second.
MOST_SENT_ON = 300
SENT_ON = re.compile(r"sent_to_other_node stage=(\S+) .*claim_id=(\S+)")


def violations(farm: Farm, renders: Sequence[Render], others: Iterable[str] = ()) -> list[str]:
    """Everything that is not as it has to be; empty when all is well.

    ``others`` are components that were asked for too, and are looked at elsewhere.
    """
    asked_for = [one for one in renders if one.asked_for]
    return [
        *uploads_not_ended(farm),
        *wrong_uploads(farm, asked_for),
        *wrong_entities(farm, asked_for, others),
        *wrong_indexes(farm.redis),
        *leftovers(farm.redis),
        *sent_to_and_fro(farm.folder),
    ]


def sent_to_and_fro(folder: Path) -> Iterator[str]:
    """Stages of a batch that nodes have left to each other again and again, by their logs."""
    sent: Counter[tuple[str, ...]] = Counter()
    for log in folder.glob("*.log"):
        with log.open(encoding="utf-8", errors="replace") as lines:
            sent.update(found.groups() for line in lines if (found := SENT_ON.search(line)))
    for (stage, claim_id), times in sent.items():
        if times > MOST_SENT_ON:
            yield f"{stage} of claim {claim_id} went from node to node {times} times"


def uploads_not_ended(farm: Farm) -> Iterator[str]:
    """Uploads that are still under way, or failed without a reason."""
    for upload_id, fields in records(farm.redis):
        ended = {*ENDED, "stored"} if "publish" in fields else ENDED
        if fields.get("state") not in ended:
            yield f"upload {upload_id} has not ended: {told(fields)}"
        if fields.get("state") == "failed" and not fields.get("error"):
            yield f"upload {upload_id} failed without a reason: {told(fields)}"


def wrong_uploads(farm: Farm, renders: Iterable[Render]) -> Iterator[str]:
    """Components without the newest bytes, or not located exactly once."""
    located = Counter(
        (one["component_id"], one["resource_identifier"])
        for one in farm.sandbox.ftrack.entities("ComponentLocation")
    )
    for render in renders:
        component_id = render.component_id
        current = farm.redis.hget(f"farmhaul:component:{component_id}", "current")
        fields = farm.record(str(current))
        about = f"{render.path.name} (component {component_id}, upload {current})"
        if current not in render.upload_ids:
            yield f"{about} is none of the uploads that were asked for: {render.upload_ids}"
        if fields.get("state") != "located":
            yield f"{about} is not located: {told(fields)}"
            continue
        if (count := located[component_id, component_id]) != 1:
            yield f"{about} has {count} locations"
        stored, wanted = farm.sandbox.store.md5(component_id), md5_of(render.path)
        if stored != wanted:
            size = farm.sandbox.store.size(component_id)
            yield (
                f"{about}: the store has {size} bytes with MD5 {stored}, the file "
                f"{render.path.stat().st_size} with {wanted}: {told(fields)}"
            )


def wrong_entities(farm: Farm, renders: Iterable[Render], others: Iterable[str]) -> Iterator[str]:
    """Entities that are there twice, or half, or that nobody asked for."""
    ftrack = farm.sandbox.ftrack
    components = ftrack.entities("FileComponent")
    names = Counter(
        (one["version_id"], one["container_id"], one["name"], one["file_type"])
        for one in components
    )
    yield from (
        f"{count} components are named {name}" for name, count in names.items() if count > 1
    )
    known = {*others, *(render.component_id for render in renders)}
    places = Counter(one["component_id"] for one in ftrack.entities("ComponentLocation"))
    yield from (f"{count} locations of {one}" for one, count in places.items() if count > 1)
    yield from (f"{one} was located, and nobody asked for it" for one in places if one not in known)
    jobs = Counter(
        json.loads(job["data"])["source_component_id"]
        for job in ftrack.entities("Job")
        if job["type"] == "encode"
    )
    for render in renders:
        least, most = (1, 1 + render.rewrites) if render.encode else (0, 0)
        if not least <= (count := jobs[render.component_id]) <= most:
            yield f"{render.path.name} was encoded {count} times, not {least} to {most}"


def moves_of(scripts: Collection[str]) -> set[tuple[str, str]]:
    """Return the moves between states that some scripts may make, by the table in states.py."""
    return {(move.before, move.after) for move in MOVES if not {*scripts}.isdisjoint(move.scripts)}


def reachable(before: str, scripts: Collection[str]) -> set[str]:
    """Return the states that some scripts may bring an upload to, in any number of moves."""
    moves, found = moves_of(scripts), {before}
    while more := {after for start, after in moves if start in found} - found:
        found |= more
    return found


def wrong_indexes(client: Any) -> Iterator[str]:
    """Uploads that are not in exactly the indexes of their state."""
    indexes = [(index, state) for index in ("state", "file") for state in STATES]
    lists = ["pending", "retrying", "open"]
    lists += [f"pending:{host}" for host in client.smembers("farmhaul:hosts")]
    claims = client.scan_iter("farmhaul:claim:*", count=1000)
    pipeline = client.pipeline(transaction=False)
    for name in (*(f"{index}:{state}" for index, state in indexes), *lists):
        pipeline.zrange(f"farmhaul:{name}", 0, -1)
    ids = [set(members) for members in pipeline.execute()]
    members = dict(zip(indexes, ids, strict=False))
    pending, waiting, opened, *of_hosts = ids[len(indexes) :]
    pending = pending.union(*of_hosts)
    claimed: Counter[str] = Counter()
    for key in _of_type(client, claims, "set"):
        claimed.update(client.smembers(key))
    for upload_id, fields in records(client):
        state = fields.get("state", "")
        found = [one for one, ids in members.items() if upload_id in ids]
        if found != [("file" if "publish" in fields else "state", state)]:
            yield f"upload {upload_id} is {state} and in the indexes of {found}"
        if (upload_id in pending) != (state == "pending"):
            yield f"upload {upload_id} is {state}; among the pending: {upload_id in pending}"
        if (upload_id in waiting) != (state == "retrying"):
            yield f"upload {upload_id} is {state}; among the waiting: {upload_id in waiting}"
        is_open = state == "storing" and "complete" not in fields
        if (upload_id in opened) != is_open:
            yield f"upload {upload_id} is {state}; among the open: {upload_id in opened}"
        if claimed[upload_id] != int(state == "active"):
            yield f"upload {upload_id} is {state} and in {claimed[upload_id]} claims"


def leftovers(client: Any) -> Iterator[str]:
    """Messages nobody needs, and keys that would stay for ever."""
    yield from (f"the queue {key!r} holds messages" for key in queues(client))
    if count := client.hlen("unacked"):
        yield f"{count} messages are unacknowledged"
    for key in client.scan_iter("*"):
        if client.ttl(key) == -1 and not key.startswith(LASTING):
            yield f"the key {key!r} would stay for ever: {client.type(key)}"


def processes_left(groups: Iterable[int], within_s: float = 20) -> list[str]:
    """Processes of workers that go on after the farm was stopped."""
    wanted = set(groups)
    end = time.monotonic() + within_s
    while left := list(_processes(wanted)):
        if time.monotonic() > end:
            return left
        time.sleep(0.2)
    return []


def _processes(groups: set[int]) -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if int(fields[2]) in groups and fields[0] != "Z":
            yield f"process {folder.name} of group {fields[2]} is left: {command}"


def queues(client: Any) -> list[str]:
    """The queues that hold messages."""
    return [key for key in client.scan_iter("farmhaul*") if not key.startswith("farmhaul:")]


def live_count(client: Any) -> int:
    """How many uploads have not ended, or are not taken in."""
    waiting = sum(int(client.llen(key)) for key in ("farmhaul:inbox", "farmhaul:taking"))
    return waiting + sum(int(client.zcard(f"farmhaul:state:{state}")) for state in LIVE)


def records(client: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """All uploads that Redis knows."""
    keys = _of_type(client, client.scan_iter("farmhaul:upload:*", count=1000), "hash")
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.hgetall(key)
    for key, fields in zip(keys, pipeline.execute(), strict=True):
        yield key.removeprefix("farmhaul:upload:"), fields


def _of_type(client: Any, keys: Iterable[str], kind: str) -> list[str]:
    """Return those of the keys that have a type; somebody may have written another."""
    names = list(keys)
    pipeline = client.pipeline(transaction=False)
    for key in names:
        pipeline.type(key)
    return [key for key, found in zip(names, pipeline.execute(), strict=True) if found == kind]


def told(fields: dict[str, str]) -> str:
    """A record in one line, without what is long."""
    return json.dumps(
        {name: one for name, one in fields.items() if name not in {"request", "file"}}
    )


def md5_of(path: Path) -> str:
    """The digest of a file on disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
