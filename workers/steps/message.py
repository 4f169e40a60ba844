"""The message that tells people of notices: JSON for programs, and a text for chats."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tasks.config.remedies import with_id
from tasks.config.texts import visible
from tasks.records.nodes import MEANINGS
from tasks.records.notices import Notice
from tasks.records.upload_state import UploadState

#: What each event is called in the text, for one and for several.
WORDS = {
    "upload_failed": ("upload failed", "uploads failed"),
    "publish_visible": ("publish is in ftrack", "publishes are in ftrack"),
    "node_set_aside": ("node takes no uploads", "nodes take no uploads"),
    "node_back": ("node takes uploads again", "nodes take uploads again"),
}
#: The text names this many, and says how many more there are.
LINES = 10
MOST_CHARS = 300
#: Slack reads these in a text.
MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "'"})


class Signed(NamedTuple):
    """What is posted: the body, and the headers of Standard Webhooks."""

    body: bytes
    headers: dict[str, str]


def message_id(raws: Sequence[bytes | str]) -> str:
    """Return an id that stays the same if the same notices are sent again."""
    whole = hashlib.sha256()
    for raw in raws:
        whole.update(raw if isinstance(raw, bytes) else raw.encode())
    return whole.hexdigest()[:32]


def signed(body: bytes, name: str, at: int, keys: Sequence[bytes]) -> Signed:
    """Sign a body as https://www.standardwebhooks.com says, with each key."""
    text = b".".join((name.encode(), str(at).encode(), body))
    signatures = (base64.b64encode(hmac.digest(key, text, "sha256")).decode() for key in keys)
    return Signed(
        body,
        {
            "Content-Type": "application/json",
            "User-Agent": "farmhaul",
            "webhook-id": name,
            "webhook-timestamp": str(at),
            "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
        },
    )


def body_of_message(
    notices: Sequence[Notice], uploads: Mapping[str, UploadState], dropped: int, lost_now: int
) -> bytes:
    """Return the JSON of a message.

    Args:
        notices: what it tells of.
        uploads: those of them that have a record, by id.
        dropped: how many notices were never sent, since the farm was new.
        lost_now: how many of these nobody has been told of yet.
    """
    message = {
        "type": "farmhaul.notices",
        "text": _text(notices, uploads, lost_now),
        "dropped": dropped,
        "events": [_event(notice, uploads.get(notice.subject)) for notice in notices],
    }
    return json.dumps(message).encode()


def _event(notice: Notice, upload: UploadState | None) -> dict[str, Any]:
    event: dict[str, Any] = {
        "id": notice.id,
        "event": notice.event,
        "at": datetime.fromtimestamp(notice.at, UTC).isoformat(timespec="milliseconds"),
    }
    if notice.event.startswith("node_"):
        return event | {"node": notice.subject, "what": notice.what, "error": notice.error}
    event |= {
        "upload_id": notice.subject,
        "error": with_id(notice.error, notice.subject),
        "error_kind": notice.kind,
    }
    if upload is not None:
        names = ("component_id", "version_id", "name", "path", "files", "size_bytes")
        event |= {name: getattr(upload, name) for name in names}
        event |= {"asked_user": upload.asked_user, "asked_host": upload.asked_host}
        event["state_now"] = upload.state
    return event


def _text(notices: Sequence[Notice], uploads: Mapping[str, UploadState], lost_now: int) -> str:
    counts = Counter(notice.event for notice in notices)
    heads = [f"{n} {WORDS[event][n > 1]}" for event, n in counts.items() if event in WORDS]
    lines = ["farmhaul: " + ", ".join(heads)]
    lines += [_line(notice, uploads.get(notice.subject)) for notice in notices[:LINES]]
    if len(notices) > LINES:
        lines.append(f"and {len(notices) - LINES} more")
    if lost_now:
        lines.append(f"{lost_now} notices before these were dropped: see farmhaul status")
    return "\n".join(lines)


def _line(notice: Notice, upload: UploadState | None) -> str:
    # A newer version may know the event, but anyone who can write to Redis may have invented it.
    what = WORDS[notice.event][0] if notice.event in WORDS else _literal(notice.event)
    name = upload.path if upload else notice.subject
    why = with_id(notice.error, notice.subject)
    if notice.event.startswith("node_"):
        name, why = notice.subject, MEANINGS.get(notice.what, notice.what)
    line = f"• {what}: {_literal(name)}"
    return f"{line}: {_literal(why)}" if why else line


def _literal(text: str) -> str:
    # A file may be named "@channel": between backticks, no chat takes that for a mention.
    shown = visible(text)
    cut = shown if len(shown) <= MOST_CHARS else f"…{shown[-MOST_CHARS:]}"
    return f"`{cut.translate(MARKUP)}`"
