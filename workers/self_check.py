"""What a worker can find out about itself: whether its key, its clock and its API key are right.

What it cannot find out, such as a folder that is not mounted, the other nodes find out: see
``tasks/records/lua/includes/breaker.lua``.
"""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

import redis

from tasks.config.remedies import explained
from tasks.config.sealing import fingerprints, message_codec
from tasks.config.settings import Settings
from tasks.records.keys import ALIVE, FINGERPRINTS, PAUSED, to_text, upload_key
from tasks.records.nodes import heard_lately
from tasks.records.states import UPLOAD_STATES
from tasks.records.status import Status
from tasks.transfer.errors import (
    CredentialsRefusedError,
    OwnSettingsError,
    SealBrokenError,
    UploadError,
)
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import SERVER_LOCATION_ID
from tasks.transfer.queries import query

#: A clock that differs by less does no harm to leases that have the usual length.
CLOCK_S = 20.0
#: How many records are read to find out which of two keys the farm has.
SAMPLE = 20
#: How many workers are asked for their keys. If each of thousands read what all of them have noted,
#: that alone would take a part of Redis' core, and hundreds of kB each time.
MOST_ASKED = 200
#: Set while this worker knows that its secret key is not that of the farm.
KEY_IS_WRONG = threading.Event()
ANOTHER_KEY = (
    "its FARMHAUL_SECRET_KEY is not that of the other nodes; set the same on all, and restart it"
)


class Fault(NamedTuple):
    """What is wrong with this node: a key of ``tasks.records.nodes.MEANINGS``, and a text."""

    what: str
    error: str


def note_keys(settings: Settings, client: redis.Redis, name: str) -> None:
    """Note the fingerprints of this worker's keys, so that all can compare them."""
    client.hset(FINGERPRINTS, name, " ".join(fingerprints(settings)))
    client.expire(FINGERPRINTS, 86400)


def key_fault(settings: Settings, client: redis.Redis, name: str) -> Fault | None:
    """Return a fault if most of the workers that run seal with a key that this one lacks.

    If as many have it as have not, the records decide.
    """
    readable = _can_read(settings, client, name)
    strange = readable.count(False)
    known = 1 + readable.count(True)
    if strange > known or (strange == known and _most_records_are_strange(settings, client)):
        return Fault("records", ANOTHER_KEY)
    return None


def may_lack_key(settings: Settings, client: redis.Redis, name: str) -> bool:
    """Return whether another worker, or who has sealed the records, may have the farm's key.

    Then this worker refuses nothing because of its key. What is set aside is not waited for.
    """
    aside = map(to_text, client.hkeys(PAUSED))
    return not all(_can_read(settings, client, name, *aside)) or _most_records_are_strange(
        settings, client
    )


def _can_read(settings: Settings, client: redis.Redis, *without: str) -> list[bool]:
    """Return for each other worker that runs whether this one can read what it seals."""
    rows = heard_lately(client, ALIVE, MOST_ASKED)
    alive = [*{row.partition(" ")[2] for row in rows}.difference(without)]
    ours = fingerprints(settings)
    noted: Any = client.hmget(FINGERPRINTS, alive) if alive else []
    theirs = [to_text(keys or "").split() for keys in noted]
    return [keys[0] in ours for keys in theirs if keys]


def _most_records_are_strange(settings: Settings, client: redis.Redis) -> bool:
    codec = message_codec(settings)
    pipeline = client.pipeline(transaction=False)
    for upload_id in Status(client, codec).ids_in(UPLOAD_STATES, limit=SAMPLE):
        pipeline.hget(upload_key(upload_id), "request")
    strange = known = 0
    for request in filter(None, pipeline.execute()):
        try:
            codec.decode(request)
            known += 1
        except SealBrokenError:
            strange += 1
    return strange > known


def clock_fault(client: redis.Redis, lease_s: float) -> Fault | None:
    """Return a fault if this node's clock and that of Redis differ so much that leases break."""
    seconds, micros = client.time()
    skew_s = time.time() - (seconds + micros / 1e6)
    if abs(skew_s) <= max(lease_s / 2, CLOCK_S):
        return None
    how = "ahead of" if skew_s > 0 else "behind"
    return Fault("clock", f"it is {abs(skew_s):.0f} s {how} Redis's; set both by NTP")


def ftrack_fault(settings: Settings) -> Fault | None:
    """Return a fault if ftrack refuses this worker's login, or its own settings keep it away.

    Any other error may be ftrack's own.
    """
    ftrack = settings.require_ftrack()
    client = FtrackClient(ftrack.server_url, ftrack.api_user, ftrack.api_key)
    location = query("id", "Location", f'id is "{SERVER_LOCATION_ID}"')
    try:
        client.call([location])
    except (CredentialsRefusedError, OwnSettingsError) as error:
        return Fault("ftrack", explained(error))
    except (UploadError, FtrackRefusal):
        return None
    finally:
        client.session.close()
    return None
