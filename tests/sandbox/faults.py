"""Faults: what goes wrong, for which requests, and how often."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

Service: TypeAlias = Literal["ftrack", "store"]
Kind: TypeAlias = Literal[
    "status",  # respond with status *value* (503), *headers* and *body*
    "error",  # ftrack's error object in a 200; *value* is the exception's name
    "junk",  # a 200 with truncated JSON; *body* replaces it
    "lost_answer",  # run the request, then close the connection without a response
    "late_s",  # ftrack: respond 504 at once, and run the request *value* seconds later
    "reset",  # reset the connection after *after_bytes* of the body (a GET: end it), or at once
    "stall",  # after *after_bytes* of the body, read nothing for *value* seconds
    "idle_cut_s",  # reset the connection when no byte of the body comes for *value* seconds
    "latency_s",  # wait *value* seconds before doing anything
    "bandwidth_bytes_s",  # at most *value* bytes a second, each way, for each connection
    "line_bytes_s",  # at most *value* bytes a second of bodies sent, for all connections together
    "url_lifetime_s",  # URLs of this call last *value* seconds; 0: expired; negative: a wrong key
    "bad_digest",  # flip a bit of the body on its way to the store or (GET) back
    "etag",  # respond with the ETag *value*, or as a proxy does: W/"{}-gzip"
    "discard",  # 200 without storing, the ETag made of Content-MD5: for benchmarks
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass
class Fault:
    """One fault; None in a condition matches everything."""

    service: Service
    kind: Kind
    value: Any = None
    action: str | None = None
    entity_type: str | None = None
    method: str | None = None
    component_id: str | None = None
    part_number: int | None = None
    #: ftrack: only calls that are larger.
    over_bytes: int = 0
    #: How often it strikes; None: until it is removed.
    times: int | None = None
    #: How many matching requests pass before it strikes.
    skip: int = 0
    probability: float = 1.0
    seed: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    #: For reset and stall; None: before anything is done.
    after_bytes: int | None = None
    #: For status, error and junk: run the request first, and then respond so.
    done: bool = False
    content: str = "the sandbox was asked for this error"
    error_code: str | None = None
    #: For latency_s: seconds more for the first request of a connection.
    connect_s: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are: {', '.join(KINDS)}")
        if self.service not in get_args(Service):
            raise ValueError(f"no service {self.service!r}: ftrack or store")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Seen:
    """The properties of a request that the conditions of a fault compare."""

    service: Service
    method: str
    actions: Sequence[str] = ()
    entity_types: Sequence[str] = ()
    key: str = ""
    part_number: int | None = None
    text: bytes = b""

    def matches(self, fault: Fault) -> bool:
        return (
            fault.service == self.service
            and fault.method in (None, self.method)
            and (fault.action is None or fault.action in self.actions)
            and (fault.entity_type is None or fault.entity_type in self.entity_types)
            and fault.part_number in (None, self.part_number)
            and len(self.text) >= fault.over_bytes
            and (
                fault.component_id in (None, self.key)
                or str(fault.component_id).encode() in self.text
            )
        )


class FaultBook:
    """The faults in force. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next_id = 1
        self._faults: dict[int, Fault] = {}
        self._dice: dict[int, random.Random] = {}
        self._matched: dict[int, int] = {}
        self._struck: dict[int, int] = {}

    def add(self, fault: Fault) -> int:
        with self._lock:
            number = self._next_id
            self._next_id += 1
            self._faults[number] = fault
            self._dice[number] = random.Random(fault.seed)
            self._matched[number] = self._struck[number] = 0
            return number

    def clear(self, number: int | None = None) -> None:
        """Remove one fault or all faults, together with their counts."""
        with self._lock:
            for known in [number] if number is not None else list(self._faults):
                for table in (self._faults, self._dice, self._matched, self._struck):
                    table.pop(known, None)

    def strike(self, seen: Seen) -> dict[Kind, Fault]:
        """Return the faults that strike this request: the oldest of each kind."""
        if not self._faults:
            return {}
        striking: dict[Kind, Fault] = {}
        with self._lock:
            for number, fault in self._faults.items():
                if fault.kind in striking or not seen.matches(fault):
                    continue
                if fault.times is not None and self._struck[number] >= fault.times:
                    continue
                self._matched[number] += 1
                if self._matched[number] <= fault.skip:
                    continue
                if fault.probability < 1 and self._dice[number].random() >= fault.probability:
                    continue
                self._struck[number] += 1
                striking[fault.kind] = fault
        return striking

    def listing(self) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {"id": number, "struck": self._struck[number], **fault.to_json()}
                for number, fault in self._faults.items()
            ]
