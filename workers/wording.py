"""What is wrong with Redis or lacks workers, in words that the commands share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import redis
import redis.sentinel
from redis import exceptions

from tasks.config.texts import visible
from tasks.intake.ranges import some_of
from tasks.intake.refusals import DATABASE, MEANINGS, RIGHTS, UNKNOWN_COMMAND, step_for
from tasks.records import refusals
from tasks.records.fail_fast import NoMasterFoundError
from tasks.records.inbox import waiting
from tasks.records.nodes import NodeFault
from tasks.records.numbers import number
from tasks.records.states import UPLOAD_STATES
from tasks.records.status import Status
from tasks.records.unread import unread

#: redis-py takes the code from the text of these.
CODES: dict[type[redis.RedisError], str] = {
    redis.ReadOnlyError: "READONLY",
    redis.BusyLoadingError: "LOADING",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.ClusterCrossSlotError: "CROSSSLOT",
    exceptions.AskError: "ASK",
    exceptions.MovedError: "MOVED",
}

#: From here on, a time is shown in minutes, and in days.
MOST_SECONDS, MOST_HOURS = 90, 48

#: A worker takes an entry in at once; one that is older has met no worker that can.
LATE_S = 10.0

IS_FULL = "command not allowed when used memory"
NO_SELECT = "'select' command"
#: By words in the text of the error.
BY_WORD = {
    IS_FULL: "; ".join(MEANINGS["OOM"]),
    "unknown command": "; ".join(UNKNOWN_COMMAND),
    "DB index": "Redis does not have this database; correct its number in FARMHAUL_REDIS_URL",
    "WRONGTYPE": (
        "a key in Redis holds what farmhaul does not put there; workers remove it within a second: "
        "start one, and find out who else writes to Redis"
    ),
    "RECORDBROKEN": (
        "the record of this upload holds what farmhaul does not put there, and this user of Redis "
        "may not repair it; enqueue the upload again, so that a worker does, and find out who else "
        "writes to Redis"
    ),
}

#: The most lines that a command prints about nodes: anybody who writes to Redis can invent them.
MOST_LINES = 20

NO_WORKER = (
    "no worker takes tasks, so uploads wait: run farmhaul worker; if one runs, see farmhaul doctor"
)

NO_SHARING = (
    "all workers take the files of their own host alone (-Q farmhaul.HOST), so other uploads wait"
)


def meant_states(words: Sequence[str]) -> str:
    """Return how to ask for states that somebody has written as words; empty if there is none."""
    states = ",".join(
        dict.fromkeys(word.lower() for word in words if word.lower() in UPLOAD_STATES)
    )
    return f"for uploads in a state, write state:{states}" if states else ""


def no_takers(status: Status) -> list[str]:
    """Return lines if no worker takes tasks, or none on a host, or none what all hosts see."""
    workers = status.workers()
    if not workers:
        # While Redis refuses them, those that run cannot say so.
        return [" ".join(line) for line in redis_refuses(status.client).items()] or [NO_WORKER]
    said = [f"{NO_SHARING}: run farmhaul worker without -Q"] if status.lacks_sharing() else []
    hosts = [visible(host) for host in status.hosts_without(workers)]
    return said + (
        [f"no worker on {some_of(hosts)} takes tasks: files there wait"] if hosts else []
    )


def late_entries(status: Status) -> list[str]:
    """Return a line if requests wait in the inbox for longer than workers take for them."""
    entries, oldest_s = waiting(status.client)
    if oldest_s is None or oldest_s < LATE_S:
        return []
    many = f"{entries} entries" if entries > 1 else "one entry"
    said = f"{many} of hooks in the inbox, the oldest for {span(oldest_s)}: no worker takes them in"
    return [f"{said}; is one running with the same FARMHAUL_SECRET_KEY? (farmhaul doctor)"]


def not_taken_in(status: Status) -> str:
    """Return what to add if an upload is not known that a hook may have asked for; or nothing."""
    entries, oldest_s = waiting(status.client)
    said = []
    if entries:
        since = f", the oldest for {span(oldest_s)}" if oldest_s is not None else ""
        wait = f"{entries} entries wait" if entries > 1 else "1 entry waits"
        said = [f"it may be in the inbox, where {wait}{since}", *no_takers(status)]
    others = redis_refuses(status.client) | waits_for_newer(status)
    said += [" ".join(line) for line in others.items()]
    return "".join(f"; {part}" for part in dict.fromkeys((*said, *refused_requests(status))))


def refused_requests(status: Status) -> list[str]:
    """Return what to say about the requests of hooks that workers have refused, if any."""
    rows = refusals.of_requests(status.client)
    if not rows:
        return []
    why = some_of([refused_row(one) for one in rows], between="; ")
    return [f"workers have refused requests ({why}); run farmhaul doctor"]


def refused_row(one: refusals.Refused) -> str:
    """Return how often something was refused, when last, and why."""
    last = f"{'the last ' if one.times > 1 else ''}{span(one.age_s)} ago"
    return f"{one.times} from {one.node}, {last}: {one.reason}"


def waits_for_newer(status: Status) -> dict[str, str]:
    """Return what waits for workers of a newer version: the rest of its line, by its name."""
    return {f"what {one.version} cannot read:": one.why for one in unread(status.client)}


def redis_problem(error: redis.RedisError) -> str:
    """Return what is wrong and, after ``; ``, what to do.

    It does not contain the URL, which may hold a password.
    """
    text = _answer(error)
    is_refused = "ACL failure in script" in text  # redis-py has no class for it
    if is_refused or isinstance(error, redis.AuthenticationError | exceptions.NoPermissionError):
        return _access_problem(error, text)
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        return _sentinel_problem(error)
    for word, meaning in BY_WORD.items():
        if word in text:
            return meaning
    if known := MEANINGS.get(CODES.get(type(error)) or text.partition(" ")[0]):
        return "; ".join(known)
    why, _, step = text.partition("; ")
    return f"Redis is not reachable ({why}); {step or step_for(why)}"


def may_pass(error: redis.RedisError) -> bool:
    """Return whether Redis is away, or holds what a worker will remove, so that waiting helps."""
    is_away = isinstance(error, redis.ConnectionError | redis.TimeoutError)
    return is_away or _answer(error).startswith("WRONGTYPE")


def _answer(error: redis.RedisError) -> str:
    """Return what Redis said: of a pipeline, redis-py shows the command first, with its values."""
    return str(error).rpartition(" of pipeline caused error: ")[2]


def _access_problem(error: redis.RedisError, text: str) -> str:
    if not isinstance(error, redis.AuthenticationError):
        return f"Redis refuses access: {text}; {DATABASE if NO_SELECT in text else RIGHTS}"
    # redis-py greets with HELLO, which Redis refuses in words of its own.
    wants_one = any(words in text for words in ("HELLO", "required"))
    return "; ".join(MEANINGS["NOAUTH" if wants_one else "WRONGPASS"])


def _sentinel_problem(error: redis.sentinel.MasterNotFoundError) -> str:
    if isinstance(error, NoMasterFoundError):
        return str(error)
    if "Authentication" in str(error):
        return (
            "the sentinels do not accept the login; check sentinel_username and sentinel_password "
            "in FARMHAUL_REDIS_URL"
        )
    if " - " in str(error):  # here redis-py has appended the sentinels that did not answer
        return (
            "no sentinel names a master, and not all of them answer; check FARMHAUL_REDIS_URL, "
            "whether they run and take TLS: farmhaul doctor on this node says what is wrong"
        )
    return "no sentinel knows a master; check FARMHAUL_REDIS_URL, and that a master is elected"


def troubles(status: Status) -> dict[str, str]:
    """Return what keeps uploads waiting: by a gate, a node or entries, the rest of its line."""
    gates = {
        f"the gate of {gate.service}": f"is closed since {clock(gate.since)}, so all uploads wait"
        for gate in status.gates()
        if gate.closed
    }
    return redis_refuses(status.client) | waits_for_newer(status) | gates | faults_of_nodes(status)


def redis_refuses(client: Any) -> dict[str, str]:
    """Return why Redis accepts nothing, as the rest of a line.

    Of what hooks ask for then, nobody knows here: it is in their spools, if they have any.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.ping()  # refused, too, while Redis cannot write to its disk
    pipeline.info("memory")
    pipeline.info("replication")
    try:
        _, memory, replication = pipeline.execute()
    except exceptions.NoPermissionError:
        return {}
    except redis.ResponseError as error:
        return {"Redis": redis_problem(error).removeprefix("Redis ")}
    if replication.get("role") == "slave":
        return {"Redis": redis_problem(redis.ReadOnlyError()).removeprefix("this Redis ")}
    used, most = (number(memory.get(name)) for name in ("used_memory", "maxmemory"))
    # With another policy it removes keys instead.
    is_full = 0 < most <= used and memory.get("maxmemory_policy") == "noeviction"
    return {"Redis": BY_WORD[IS_FULL].removeprefix("Redis ")} if is_full else {}


def first_lines(lines: Sequence[str]) -> list[str]:
    """Return the first of the lines about nodes, and one that counts the others.

    Whoever can write to Redis can invent a node, with newlines in its name.
    """
    rest = len(lines) - MOST_LINES
    return [*map(visible, lines[:MOST_LINES]), *([f"and {rest} more"] if rest > 0 else [])]


def faults_of_nodes(status: Status) -> dict[str, str]:
    """Return what each node with a fault does about uploads, and why, by its name."""
    return {
        fault.name: f"{what_it_does(fault)}: it {visible(fault.why)}"
        for fault in status.node_faults()
    }


def what_it_does(fault: NodeFault) -> str:
    """Return what a node with a fault does about uploads."""
    return {
        "all": f"takes no uploads since {clock(fault.since)}",
        "held": f"takes no uploads until {clock(fault.until)}",
        "some": f"has left {fault.count} uploads to other nodes since {clock(fault.since)}",
        "none": "takes uploads as the others do",
    }[fault.extent]


def clock(at: float) -> str:
    """Return a local time of day with its zone, and with its date if it is another day's."""
    moment = datetime.fromtimestamp(at).astimezone()
    day = "" if moment.date() == datetime.now().astimezone().date() else f"{moment:%Y-%m-%d} "
    return f"{day}{moment:%H:%M:%S %Z}"


def span(seconds: float | None) -> str:
    """Return a time in words of at most two units: 40 s, 12 min, 3 h 20 min, 5 d."""
    if seconds is None:
        return ""
    whole = max(round(seconds), 0)
    hours, rest = divmod(round(whole / 60), 60)
    if whole < MOST_SECONDS:
        return f"{whole} s"
    if not hours:
        return f"{rest} min"
    if hours < MOST_HOURS:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} d"
