"""The seal on a message: it makes the headers as authentic as the sealed body.

Celery reads from a message's headers which task to run, under which id, until when and with which
limits. The body is sealed, but contains none of that. So with FARMHAUL_SECRET_KEY, each message
carries a sealed digest of everything that the Redis transport does not change in transit. Tasks,
remote control and events are all sealed.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from typing import Any

from kombu.utils import json

from tasks.config.sealing import CONTENT_TYPE, Codec
from tasks.transfer.errors import SealBrokenError

SEAL = "seal"
#: Remote control and events are meant for those who listen now, so an older one is a replay.
#: Clocks that differ by this much are a fault in farmhaul doctor.
BROADCAST_S = 60
#: Events are plain JSON; they contain only names and times.
CONTENT_TYPES = {CONTENT_TYPE, "application/json"}
#: Why a message is refused that a node with other keys, or another version, may take.
OTHER_KEY = "it is not sealed with a key of this node"
NO_SEAL = f"it has no {SEAL}"
OTHER_TYPE = "farmhaul does not use its content type"
HERE = {OTHER_KEY, NO_SEAL, OTHER_TYPE}
#: The errors that malformed text can raise while it is parsed.
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

_codec = Codec(())


def use(codec: Codec) -> None:
    """Seal and check messages with this codec from now on; without keys, it does neither."""
    global _codec  # noqa: PLW0603 kombu creates transports itself, and passes nothing to them
    _codec = codec


def sign(message: dict[str, Any]) -> None:
    """Seal a message that is about to be sent."""
    if _codec.seals:
        message["headers"][SEAL] = _codec.encode(_digest(message))


def refusal(message: Any, queue: str) -> str:
    """Return why a message from a queue must be refused; empty if it may be delivered."""
    try:
        return _fault(message, queue)
    except SealBrokenError:
        return OTHER_KEY
    except KeyError as error:
        return f"it has no {error.args[0]}"
    except MALFORMED:
        return "it is malformed"


def _fault(message: Any, queue: str) -> str:
    # The names that kombu.pidbox and celery.events give their queues; all others hold tasks.
    broadcast = queue.endswith(".pidbox") or queue.startswith("celeryev.")
    headers = message["headers"]
    # Moved to the queue of all nodes, what one node alone can do right would be done by another.
    was_moved = not broadcast and message["properties"]["delivery_info"]["routing_key"] != queue
    if was_moved or ("task" in headers) is broadcast:
        return "it does not belong in this queue"
    if message["content-type"] not in CONTENT_TYPES:
        return OTHER_TYPE
    base64.b64decode(message["body"], validate=True)
    if not isinstance(message["properties"]["delivery_tag"], str):
        return "it has no delivery tag"
    if _codec.seals:
        if _codec.decode(headers[SEAL], "a message") != _digest(message):
            return "it was changed after it was sealed"
        age_s = time.time() - _codec.sealed_at(headers[SEAL])
        if broadcast and abs(age_s) > BROADCAST_S:
            when = "ago" if age_s > 0 else "in the future"
            return f"it was sealed {abs(age_s):.0f} s {when}, by the clock of this node"
    return ""


def _digest(message: Mapping[str, Any]) -> str:
    headers = {k: v for k, v in message["headers"].items() if k not in {SEAL, "redelivered"}}
    properties = dict(message["properties"])
    way = properties.pop("delivery_info")
    fixed = (
        headers,
        properties,
        way.get("exchange"),
        way.get("routing_key"),
        message["body"],
        message["content-type"],
        message["content-encoding"],
    )
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
