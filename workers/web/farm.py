"""The farm as its page shows it: nodes, gates, queues, limits, and what has failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from tasks.chain import QUEUE, list_key
from tasks.records import history
from tasks.records.inbox import Waiting, waiting
from tasks.records.keys import ALIVE, state_key, to_text, upload_key
from tasks.records.nodes import NodeFault, heard_lately
from tasks.records.refusals import Refused, of_requests
from tasks.records.states import STAGES
from tasks.records.status import Backlog, Gate, Status, answers
from workers.held_back import read_limits
from workers.wording import redis_refuses

#: The latest failed uploads whose kinds of error the page of the farm counts.
FAILED_READ = 500


class Node(NamedTuple):
    """A worker: whether it takes tasks, and what it cannot do that others can, if anything."""

    name: str
    version: str
    takes: bool
    fault: NodeFault | None

    @property
    def takes_uploads(self) -> bool:
        """Whether it takes uploads: a fault may concern all of them, or only some."""
        return self.takes and (self.fault is None or self.fault.extent in {"some", "none"})


class Farm(NamedTuple):
    """The farm as its page shows it; ``history`` is that of ``tasks.records.history``.

    ``kinds`` counts the latest failed uploads by the kind of error.
    """

    now: float
    nodes: list[Node]
    gates: list[Gate]
    queues: list[tuple[str, int]]
    inbox: Waiting
    backlog: list[Backlog]
    limits: dict[str, str]
    history: list[dict[str, float]]
    kinds: list[tuple[str, int]]
    retrying: int = 0
    #: Why the latest of those that retry does.
    why: str = ""
    #: The requests of hooks that workers have refused, those of the most frequent reason first.
    refused: Sequence[Refused] = ()
    #: What is wrong with Redis itself; empty if nothing is.
    redis: str = ""

    @property
    def takers(self) -> int:
        """How many nodes take uploads."""
        return sum(node.takes_uploads for node in self.nodes)


class FarmReader:
    """Reads the farm; remembers the failed uploads that it has counted last."""

    def __init__(self) -> None:
        #: The kinds of error, by upload and when it has failed.
        self._kinds: dict[tuple[str, float], Any] = {}

    def read(self, status: Status, now: float) -> Farm:
        """Return what the page of the farm shows."""
        client: Any = status.client
        return Farm(
            now,
            _nodes(status),
            status.gates(),
            queues=[(stage, int(client.llen(list_key(QUEUE, stage)))) for stage in STAGES],
            inbox=waiting(client),
            backlog=status.backlog(),
            limits=read_limits(client),
            history=history.read(client),
            kinds=self._kinds_of_failures(client),
            retrying=int(client.zcard(state_key("retrying"))),
            why=_why_the_latest_retries(status),
            refused=of_requests(client),
            redis=" ".join(" ".join(line) for line in redis_refuses(client).items()),
        )

    def _kinds_of_failures(self, client: Any) -> list[tuple[str, int]]:
        # Each with when it has failed: it may have been retried, and have failed of something else.
        failed = client.zrange(state_key("failed"), 0, FAILED_READ - 1, desc=True, withscores=True)
        rows = [(to_text(upload_id), at) for upload_id, at in failed]
        # The page asks every few seconds: what is known is not read again.
        known = self._kinds
        new = [row for row in rows if row not in known]
        pipeline = client.pipeline(transaction=False)
        for upload_id, _ in new:
            pipeline.hget(upload_key(upload_id), "error_kind")
        read = known | dict(zip(new, answers(pipeline), strict=True))
        self._kinds = {row: read[row] for row in rows}
        kinds = (kind for kind in self._kinds.values() if isinstance(kind, bytes | str))
        return Counter(map(to_text, kinds)).most_common()


def _nodes(status: Status) -> list[Node]:
    """Return the nodes that were heard of lately: those with a fault first, and then by name."""
    takes, faults = {*status.workers()}, {fault.name: fault for fault in status.node_faults()}
    nodes = []
    for row in heard_lately(status.client, ALIVE):
        version, _, name = row.partition(" ")
        nodes.append(Node(name, version, name in takes, faults.get(name)))
    return sorted(nodes, key=lambda node: (node.fault is None, node.name))


def _why_the_latest_retries(status: Status) -> str:
    found = status.find(status.ids_in(["retrying"], 1))
    return next((upload.error for upload in found if upload is not None), "")
