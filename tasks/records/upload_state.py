"""What a record says of its upload, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.config.remedies import with_id
from tasks.config.sealing import UNREADABLE, Codec
from tasks.records.acts import Act, acts_of
from tasks.records.numbers import LARGEST_SIZE, LATEST_S, Numbers
from tasks.records.places import with_name
from tasks.records.states import DONE, LIVE, STAGES, STATES, UNFINISHED_JOBS
from tasks.transfer.errors import SealBrokenError

#: The error of a record that holds something else than farmhaul's.
IS_BROKEN = "its record in Redis is broken ({}): enqueue it again, and find who else writes there"
BROKEN_KIND = "RecordBroken"
#: Shown for a publish while its files are still being recorded.
IS_OPEN = "not all of its files are recorded yet; if its worker dies, another one continues"


@dataclass(frozen=True, slots=True)
class UploadState:
    """An upload as ``status`` shows it.

    ``created``, ``updated`` and ``due`` are seconds since 1970, by Redis' clock.
    """

    upload_id: str
    component_id: str
    path: str
    state: str
    stage: str
    size_bytes: int | None
    sent_bytes: int
    worker: str
    error: str
    error_kind: str
    created: float
    updated: float
    due: float | None
    tries: int
    #: The bytes a second at which it is being sent; None if that is not known.
    bytes_s: float | None = None
    #: For a publish: the number of its members, and how many of them are stored.
    files: int = 0
    stored: int = 0
    #: ftrack's encoding: queued, running, done or failed; empty if there is none.
    job_ids: tuple[str, ...] = ()
    job_state: str = ""
    #: The version and the name in ftrack; empty where the request has only a component.
    version_id: str = ""
    name: str = ""
    #: The location that has its path alone; empty if it was uploaded.
    only_in: str = ""
    #: Who asked for it, and when by the clock of their node; empty and 0 if that is not known.
    asked_host: str = ""
    asked_user: str = ""
    asked: float = 0.0
    #: Who has retried or cancelled it, the oldest first.
    acts: tuple[Act, ...] = ()

    @property
    def is_broken(self) -> bool:
        """Whether its record holds what farmhaul does not write."""
        return self.error.startswith(IS_BROKEN.partition("(")[0])

    @property
    def is_component(self) -> bool:
        """Whether its id is that of a component; a publish with a name has one of its own."""
        return not self.files or "/" in self.path

    @property
    def left_s(self) -> float | None:
        """How long the rest takes to send, in seconds; None if that is not known."""
        if not self.bytes_s or self.size_bytes is None:
            return None
        return max(self.size_bytes - self.sent_bytes, 0) / self.bytes_s

    @property
    def has_ended(self) -> bool:
        """Whether the upload, and its encoding, have ended."""
        return self.state not in LIVE and self.job_state not in UNFINISHED_JOBS

    @property
    def has_failed(self) -> bool:
        """Whether it is not located or stored, or its encoding failed; true of live uploads too."""
        return self.state not in DONE or self.job_state == "failed"


def state_of(
    upload_id: str, fields: Mapping[str, str], stored: int, codec: Codec
) -> UploadState | None:
    """Return what the fields of a record say; None if there are none.

    ``stored`` is the number of a publish's members that are stored. What cannot be read, or is
    broken, is said in ``path`` and ``error``.
    """
    if not fields:
        return None
    state, error = fields.get("state", ""), codec.unseal_text(fields.get("error", ""))
    try:
        request = codec.decode(fields["request"])
        path, error = str(request["path"]), with_name(error, request)
        target = _first_target(request)
    except (SealBrokenError, KeyError, TypeError, AttributeError):
        path, request, target = UNREADABLE, {}, {}
    numbers = Numbers(fields)
    stage = numbers.whole("stage", len(STAGES))
    is_open = state == "storing" and "complete" not in fields
    is_sending = state == "active" and STAGES[stage - 1] == "put_file"
    size, rate = numbers.get("size", LARGEST_SIZE), numbers.get("rate")
    sent_bytes = _sent_bytes(state, fields, numbers, is_sending=is_sending)
    times = {name: numbers.get(name, LATEST_S) for name in ("created", "updated", "due")}
    tries = sum(numbers.whole(name) for name in fields if name.startswith("tries:"))
    files = numbers.whole("total")
    for name in ("fence", "score", "done"):  # read only to see whether they are numbers
        numbers.get(name)
    if numbers.odd or state not in STATES:
        error = IS_BROKEN.format(", ".join(sorted(numbers.odd) or ["state"]))
    return UploadState(
        upload_id=upload_id,
        component_id=fields.get("component", ""),
        path=path,
        state=state,
        stage=STAGES[stage - 1] if stage else "",
        size_bytes=None if size is None else int(size),
        sent_bytes=sent_bytes,
        bytes_s=rate if is_sending or state == "storing" else None,
        worker=fields.get("worker", ""),
        error=IS_OPEN if is_open else with_id(error, upload_id),
        error_kind=fields.get("error_kind", ""),
        created=times["created"] or 0.0,
        updated=times["updated"] or 0.0,
        due=times["due"],
        tries=tries,
        files=files,
        stored=stored,
        job_ids=tuple(fields["jobs"].split(",")) if fields.get("jobs") else (),
        job_state=fields.get("job_state", ""),
        version_id=str(target.get("version_id") or ""),
        name=str(target.get("name") or ""),
        only_in=str(target.get("only_in") or ""),
        asked_host=str(request.get("asked_host", "")),
        asked_user=str(request.get("asked_user", "")),
        asked=numbers.get("asked", LATEST_S) or 0.0,
        acts=acts_of(fields.get("acts", ""), codec),
    )


def _sent_bytes(
    state: str, fields: Mapping[str, str], numbers: Numbers, *, is_sending: bool
) -> int:
    sent_bytes = numbers.whole("sent")
    if is_sending:  # parts of a large file that are under way
        return sent_bytes + numbers.whole("ahead")
    # A publish counts what its members have now; its size is what was asked for.
    if state in {"located", "stored"} and "total" not in fields:
        return numbers.whole("size", LARGEST_SIZE)
    return sent_bytes


def broken_state(upload_id: str) -> UploadState:
    """Return the state of an upload whose record has another type."""
    return UploadState(
        upload_id=upload_id,
        component_id="",
        path="",
        state="",
        stage="",
        worker="",
        size_bytes=None,
        sent_bytes=0,
        error=IS_BROKEN.format("another type"),
        error_kind=BROKEN_KIND,
        created=0.0,
        updated=0.0,
        due=None,
        tries=0,
    )


def _first_target(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a request becomes in ftrack; for a publish, what its first sequence becomes."""
    containers = request.get("publish", {}).get("containers", ())
    target: Mapping[str, Any] = (containers[0] if containers else request)["target"]
    return target
