"""Every key that farmhaul has in Redis, built here and nowhere else; docs/state.md explains them.

The scripts in ``lua/`` get these names from here too: see ``tasks.records.scripts``.
"""

from __future__ import annotations

from typing import Any

PREFIX = "farmhaul:"

#: Sorted sets, lists and hashes that exist once.
RETRYING = f"{PREFIX}retrying"
PENDING = f"{PREFIX}pending"
OPEN = f"{PREFIX}open"
CLAIMS = f"{PREFIX}claims"
JOBS = f"{PREFIX}jobs"
HOSTS = f"{PREFIX}hosts"
TOTALS = f"{PREFIX}totals"
LIMITS = f"{PREFIX}limits"
#: The lock of the reconciler: which worker reconciles.
RECONCILER = f"{PREFIX}reconciler"
#: Workers by the time at which they last took tasks, and by the time at which they last ran.
WORKERS = f"{PREFIX}workers"
ALIVE = f"{PREFIX}alive"


def upload_key(upload_id: str) -> str:
    """Return the key of an upload's record."""
    return f"{PREFIX}upload:{upload_id}"


def state_key(state: str) -> str:
    """Return the key of the index of uploads in a state."""
    return f"{PREFIX}state:{state}"


def file_state_key(state: str) -> str:
    """Return the key of the index of a publish's files in a state."""
    return f"{PREFIX}file:{state}"


def pending_key(host: str = "") -> str:
    """Return the key of the pending uploads that all nodes see, or one host alone."""
    return f"{PENDING}:{host}" if host else PENDING


def files_key(publish_id: str) -> str:
    """Return the key of the files of a publish."""
    return f"{PREFIX}files:{publish_id}"


def left_key(publish_id: str) -> str:
    """Return the key of those files of a publish that are not stored yet."""
    return f"{PREFIX}left:{publish_id}"


def claim_key(claim_id: str) -> str:
    """Return the key of the uploads that one chain carries."""
    return f"{PREFIX}claim:{claim_id}"


def component_key(component_id: str) -> str:
    """Return the key of a component: its current upload, and who sends bytes to it."""
    return f"{PREFIX}component:{component_id}"


def parts_key(upload_id: str) -> str:
    """Return the key of the parts record of a large file."""
    return f"{PREFIX}parts:{upload_id}"


def runs_key(upload_id: str) -> str:
    """Return the key of the runs of parts that no task has yet."""
    return f"{PREFIX}runs:{upload_id}"


def gate_key(service: str) -> str:
    """Return the key of a service's gate."""
    return f"{PREFIX}gate:{service}"


def bucket_key(name: str) -> str:
    """Return the key of a rate limit's bucket."""
    return f"{PREFIX}bucket:{name}"


def to_text(value: Any) -> str:
    """Return what Redis answered as text; None becomes the empty text."""
    return value.decode() if isinstance(value, bytes) else str(value or "")
