"""Requests as bodies of envelopes, each of a size that a worker takes in at once."""

from __future__ import annotations

from tasks.intake.envelope import MAX_BYTES, make_body
from tasks.intake.errors import BadInputError, printable
from tasks.intake.json_text import json_text
from tasks.intake.request import PublishRequest
from tasks.intake.wire import to_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tasks.intake.request import Request

#: A worker takes in a body as a whole, so these bound what one call takes, and what a lost call
#: loses. A larger request, such as a sequence of 100,000 frames, is a body of its own. Frames that
#: nobody has looked at are only a few bytes, so they are counted too.
REQUESTS_AT_ONCE = 500
FILES_AT_ONCE = 10_000
BYTES_AT_ONCE = 256 * 1024
#: What an envelope adds to its requests.
ENVELOPE_BYTES = 1024


def make_bodies(
    requests: Sequence[Request], asked_at: float, host: str, user: str = ""
) -> list[bytes]:
    """Return the bodies for requests, in their order.

    Raises:
        BadInputError: a request is too large, or workers would refuse it.
    """
    bodies = []
    group: list[dict[str, Any]] = []
    group_files = group_bytes = 0
    for request in requests:
        values, size = _measured(request)
        files = len(request.files) if isinstance(request, PublishRequest) else 1
        if group and (
            len(group) == REQUESTS_AT_ONCE
            or group_files + files > FILES_AT_ONCE
            or group_bytes + size > BYTES_AT_ONCE
        ):
            bodies.append(make_body(group, asked_at, host, user))
            group, group_files, group_bytes = [], 0, 0
        group.append(values)
        group_files += files
        group_bytes += size
    if group:
        bodies.append(make_body(group, asked_at, host, user))
    return bodies


def _measured(request: Request) -> tuple[dict[str, Any], int]:
    """Return a request's plain values, and their size as JSON."""
    try:
        values = to_wire(request)
    except ValueError as error:
        raise BadInputError(f"{printable(request.path)} cannot be sent: {error}") from None
    size = len(json_text(values))
    if size + ENVELOPE_BYTES > MAX_BYTES:
        raise BadInputError(
            f"{printable(request.path)} makes a request of {size} bytes, and {MAX_BYTES} is the "
            "maximum; split it into several publishes"
        )
    return values, size
