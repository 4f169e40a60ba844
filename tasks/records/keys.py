"""Every key that farmhaul has in Redis; no other module builds one.

docs/state.md explains each key. The scripts in ``lua/`` get their names from LUA_KEYS.
"""

from __future__ import annotations

from typing import Any

from tasks.intake.inbox import INBOX

PREFIX = "farmhaul:"

#: Indexes, counters and locks: there is one of each.
RETRYING = f"{PREFIX}retrying"
PENDING = f"{PREFIX}pending"
OPEN = f"{PREFIX}open"
CLAIMS = f"{PREFIX}claims"
JOBS = f"{PREFIX}jobs"
HOSTS = f"{PREFIX}hosts"
TOTALS = f"{PREFIX}totals"
LIMITS = f"{PREFIX}limits"
#: Downloads by workers, by when they last moved.
FETCHES = f"{PREFIX}fetches"
#: The entries of the inbox that workers are taking in.
TAKING = f"{PREFIX}taking"
#: How often each of them has come back because its worker died.
RETURNED = f"{PREFIX}returned"
#: The bytes of the entries that a version of farmhaul cannot read, by version.
UNREAD = f"{PREFIX}unread"
#: The lock of the reconciler: the worker that reconciles.
RECONCILER = f"{PREFIX}reconciler"
#: Workers, by when they last took tasks, and by when they last ran.
WORKERS = f"{PREFIX}workers"
ALIVE = f"{PREFIX}alive"
#: Workers that are set aside, with the reason: they take nothing that all nodes see.
PAUSED = f"{PREFIX}paused"

#: Workers that take uploads, and leave some of them to others, with the reason.
LEFT_TO_OTHERS = f"{PREFIX}left_to_others"
#: How far a worker's last claims have looked in vain; its name follows.
SCANNED = f"{PREFIX}scanned:"

#: The uploads that a worker alone has failed: what is wrong, a colon and its name follow.
FAILING = f"{PREFIX}failing:"
#: The fingerprints of each worker's keys, by its name.
FINGERPRINTS = f"{PREFIX}fingerprints"

#: The queue that a worker takes from apart from the shared one, by its name.
OWN_QUEUES = f"{PREFIX}queues"
#: The last message that each host has refused, and why.
REFUSALS = f"{PREFIX}refusals"

#: What people are to be told (FARMHAUL_NOTIFY_URL), whether a worker tells them, and which one.
NOTICES = f"{PREFIX}notices"
NOTICES_WANTED = f"{PREFIX}notices:wanted"
NOTIFIER = f"{PREFIX}notifier"

#: The search index: the uploads of a group, and the groups that have a term.
GROUP = f"{PREFIX}index:group:"
TERM = f"{PREFIX}index:term:"
#: How many uploads the hooks of each host have asked for.
ASKED = f"{PREFIX}asked"
#: The uploads that a chain of tasks has carried; the chain's id follows.
CARRIED = f"{PREFIX}carried:"
#: A minute in each entry, for an hour: what the farm has done and what waits.
HISTORY = f"{PREFIX}history"
#: How many messages, records and requests were refused, by what, why, and on which node.
REFUSED_BY = f"{PREFIX}refused"

#: The beginning of a key; the id follows.
UPLOAD = f"{PREFIX}upload:"
FETCH = f"{PREFIX}fetch:"
CHECK = f"{PREFIX}check:"
STATE = f"{PREFIX}state:"
FILE_STATE = f"{PREFIX}file:"
FILES = f"{PREFIX}files:"
DROPPED = f"{PREFIX}dropped:"
LEFT = f"{PREFIX}left:"
CLAIM = f"{PREFIX}claim:"
COMPONENT = f"{PREFIX}component:"
#: The nodes that would refuse the place of an upload; its id follows.
PLACE_REFUSED = f"{PREFIX}place_refused:"
PARTS = f"{PREFIX}parts:"
RUNS = f"{PREFIX}runs:"
GATE = f"{PREFIX}gate:"
BUCKET = f"{PREFIX}bucket:"
#: What the services have answered; the node's own follows after a colon.
ANSWERS = f"{PREFIX}answers"

#: The scripts' table KEY. Its last entry belongs to kombu (Channel.unacked_index_key).
LUA_KEYS = {
    "upload": UPLOAD,
    "state": STATE,
    "file_state": FILE_STATE,
    "files": FILES,
    "dropped": DROPPED,
    "left": LEFT,
    "claim": CLAIM,
    "component": COMPONENT,
    "place_refused": PLACE_REFUSED,
    "parts": PARTS,
    "runs": RUNS,
    "gate": GATE,
    "answers": ANSWERS,
    "bucket": BUCKET,
    "group": GROUP,
    "term": TERM,
    "carried": CARRIED,
    "asked": ASKED,
    "retrying": RETRYING,
    "pending": PENDING,
    "open": OPEN,
    "claims": CLAIMS,
    "jobs": JOBS,
    "hosts": HOSTS,
    "totals": TOTALS,
    "inbox": INBOX,
    "taking": TAKING,
    "returned": RETURNED,
    "unread": UNREAD,
    "workers": WORKERS,
    "alive": ALIVE,
    "reconciler": RECONCILER,
    "paused": PAUSED,
    "failing": FAILING,
    "left_to_others": LEFT_TO_OTHERS,
    "scanned": SCANNED,
    "notices": NOTICES,
    "notices_wanted": NOTICES_WANTED,
    "unacked_index": "unacked_index",
}


def upload_key(upload_id: str) -> str:
    """Return the key of an upload's record."""
    return UPLOAD + upload_id


def fetch_key(fetch_id: str) -> str:
    """Return the key of the record of a download by a worker."""
    return FETCH + fetch_id


def check_key(check_id: str) -> str:
    """Return the key of what workers tell a ``farmhaul check --farm``."""
    return CHECK + check_id


def state_key(state: str) -> str:
    """Return the key of the index of uploads in a state."""
    return STATE + state


def file_state_key(state: str) -> str:
    """Return the key of the index of publishes' files in a state."""
    return FILE_STATE + state


def pending_key(host: str = "") -> str:
    """Return the key of the pending uploads that all nodes see, or that one host alone sees."""
    return f"{PENDING}:{host}" if host else PENDING


def files_key(publish_id: str) -> str:
    """Return the key of the members of a publish."""
    return FILES + publish_id


def dropped_key(publish_id: str) -> str:
    """Return the key of the set of a publish's members that newer files have taken out of it."""
    return DROPPED + publish_id


def left_key(publish_id: str) -> str:
    """Return the key of those members of a publish that are not stored yet."""
    return LEFT + publish_id


def unread_key(version: str) -> str:
    """Return the key of the entries that a version of farmhaul cannot read."""
    return f"{UNREAD}:{version}"


def parts_key(upload_id: str) -> str:
    """Return the key of the parts record of a large file."""
    return PARTS + upload_id


def runs_key(upload_id: str) -> str:
    """Return the key of the runs of parts that no task has yet."""
    return RUNS + upload_id


def gate_key(service: str) -> str:
    """Return the key of a service's gate."""
    return GATE + service


def group_key(group: str) -> str:
    """Return the key of the uploads of a group, by when they were asked for last."""
    return GROUP + group


def term_key(term: str) -> str:
    """Return the key of the groups that have a term, by when they got an upload last."""
    return TERM + term


def carried_key(chain: str) -> str:
    """Return the key of the uploads that a chain has carried."""
    return CARRIED + chain


def to_text(value: Any) -> str:
    """Return a value from Redis as text; None becomes the empty text.

    farmhaul writes UTF-8 alone. What is not was written by somebody else, and must not be an error.
    """
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
