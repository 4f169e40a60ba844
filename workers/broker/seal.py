"""The seal on a message: its headers are as authentic as its body.

Celery takes from a message's headers which task to run, under which id, until when and with
which limits; a body, though sealed, says none of that. So with FARMHAUL_SECRET_KEY each
message carries a sealed digest of all of it but what Redis' transport changes underway. It
covers tasks, remote control and events alike.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import redis
from kombu.utils import json

from tasks.config.sealing import CONTENT_TYPE, Codec
from tasks.records.keys import TOTALS
from tasks.transfer.errors import SealBrokenError

log = logging.getLogger("farmhaul")

SEAL = "seal"
#: Remote control and events are said to those who listen now; an older one is said again by
#: somebody who overheard it. Clocks that are so far apart are a fault in farmhaul doctor.
SPOKEN_S = 60
#: What Celery's events are written in; they hold no more than names and times.
CONTENT_TYPES = {CONTENT_TYPE, "application/json"}
#: What a text that is not what it should be can raise while it is read.
ODD = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

_codec = Codec(())


def use(codec: Codec) -> None:
    """Seal and check with this codec from now on; one without keys does neither."""
    global _codec  # noqa: PLW0603 kombu makes transports itself, and hands nothing on
    _codec = codec


def sign(message: dict[str, Any]) -> None:
    """Seal a message that is about to be sent."""
    if _codec.seals:
        message["headers"][SEAL] = _codec.encode(_digest(message))


def refusal(message: Any, queue: str) -> str:
    """Say why a message is not to be taken from a queue; empty when it may be."""
    try:
        return _fault(message, queue)
    except SealBrokenError:
        return "it is not sealed with a key of this node, or too old"
    except KeyError as error:
        return f"it has no {error.args[0]}"
    except ODD:
        return "it makes no sense"


def _fault(message: Any, queue: str) -> str:
    # kombu.pidbox and celery.events name their queues so; tasks wait in all others.
    spoken = queue.endswith(".pidbox") or queue.startswith("celeryev.")
    headers = message["headers"]
    if ("task" in headers) is spoken:
        return "it is of another kind than its queue"
    if message["content-type"] not in CONTENT_TYPES:
        return "its content type is not ours"
    base64.b64decode(message["body"], validate=True)
    if not isinstance(message["properties"]["delivery_tag"], str):
        return "it has no delivery tag"
    if _codec.seals:
        sealed = _codec.decode(headers[SEAL], "a message", SPOKEN_S if spoken else None)
        if sealed != _digest(message):
            return "it was changed after it was sealed"
    return ""


def note_refused(client: redis.Redis | None, why: str) -> None:
    """Log a message that was dropped, and count it for the whole farm."""
    log.error("message_refused %s; look who else writes to Redis", why)
    if client is not None:
        try:
            client.hincrby(TOTALS, "refused", 1)
        except redis.RedisError:  # Flower may not; and no count is worth a worker
            log.debug("not counted")


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
