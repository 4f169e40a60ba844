"""The types of farmhaul's keys, to notice what somebody else has put under them.

Anyone who can write to Redis can put a list where a hash belongs. All commands on that key then
fail, so it would stop the whole farm. farmhaul itself never does that, so such a key holds nothing
of value: ``repair.lua`` removes it.
"""

from __future__ import annotations

from tasks.intake.inbox import INBOX
from tasks.records import keys
from tasks.records.states import SERVICES, STAGES, STATES

#: The queue and its priorities, as kombu names them: those of the stages, and one for downloads.
#: kombu is not imported here, because that takes each command 0.1 s. A test compares the names.
QUEUES = ("farmhaul", *(f"farmhaul\x06\x16{number}" for number in range(1, len(STAGES) + 1)))
UNACKED, UNACKED_INDEX, UNACKED_MUTEX = "unacked", "unacked_index", "unacked_mutex"
#: Where kombu notes what its exchanges lead to. A worker writes there whenever it connects.
BINDINGS = (
    *("_kombu.binding.farmhaul", "_kombu.binding_permanent.farmhaul"),
    *("_kombu.binding.celery.pidbox", "_kombu.binding.reply.celery.pidbox"),
    "_kombu.binding.celeryev",
)
BINDING_DEADLINES = "_kombu.binding_deadlines"

_LIMITED = ("bandwidth", "bandwidth:rate", "bandwidth:waiting", "api_rate", "api_rate:rate")
BUCKETS = tuple(f"{keys.BUCKET}{name}" for name in _LIMITED)

_BY_TYPE = {
    "list": (INBOX, keys.TAKING, keys.HISTORY, *QUEUES),
    "string": (keys.RECONCILER, keys.NOTIFIER, UNACKED_MUTEX, *BUCKETS),
    "set": (keys.HOSTS, *BINDINGS),
    "hash": (
        *(keys.TOTALS, keys.LIMITS, keys.RETURNED, keys.PAUSED, keys.REFUSALS, keys.REFUSED_BY),
        keys.LEFT_TO_OTHERS,
        keys.UNREAD,
        *(keys.OWN_QUEUES, keys.ANSWERS, keys.FINGERPRINTS, UNACKED),
        *map(keys.gate_key, SERVICES),
    ),
    "zset": (
        *(
            keys.RETRYING,
            keys.PENDING,
            keys.OPEN,
            keys.CLAIMS,
            keys.JOBS,
            keys.FETCHES,
            keys.NOTICES,
        ),
        *(keys.WORKERS, keys.ALIVE, keys.ASKED, UNACKED_INDEX, BINDING_DEADLINES),
        *map(keys.state_key, STATES),
        *map(keys.file_state_key, STATES),
    ),
}

#: The type of each key of which there is one.
TYPES = {key: kind for kind, found in _BY_TYPE.items() for key in found}
