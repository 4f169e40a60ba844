"""The records of a farm on a real Redis, and short ways to move an upload through them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import redis

from tasks.config.sealing import Codec
from tasks.intake.request import PublishRequest, Request, UploadRequest
from tasks.records import counters, keys
from tasks.records.commands import Commands
from tasks.records.delivery import Settlement, final_verdict
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.records.states import STAGES
from tasks.stage.retry_policy import own_fault, retry_plan
from tasks.transfer.errors import RetryableError, UploadError
from tasks.transfer.models import FileIdentity, Transfer
from tasks.transfer.targets import Container, Publish, Target

LEASE_S = 10
SIZE = 700
HOUR_S = 3600.0


class Farm:
    """One farm: its Redis and its records, as the workers and the commands use them."""

    def __init__(self, client: redis.Redis) -> None:
        """Use *client*, which decodes what it reads."""
        self.client: Any = client
        self.record = Record(Scripts(client, Codec([]), lease_s=LEASE_S))
        self.commands = Commands(self.record.scripts)
        self.ttl_s = self.record.scripts.ttl_s

    def enqueue(self, *requests: Request) -> list[str]:
        """Enqueue requests; return their ids."""
        self.commands.enqueue(requests)
        return [request.upload_id for request in requests]

    def deliver(self, stage: str = STAGES[0], claim: str = "claim", **to: str) -> list[Transfer]:
        """Deliver a stage of a claim, to the worker w1 unless *to* says otherwise."""
        return self.record.deliver(claim, stage, **{"worker": "w1", **to}).transfers

    def pass_stages(self, until: str, claim: str = "claim") -> list[Transfer]:
        """Bring the uploads of a claim to the stage *until*, and return its delivery."""
        transfers = self.deliver(claim=claim)
        for before, stage in pairwise(STAGES):
            if before == until:
                break
            self.record.settle([Settlement(transfer, "advanced") for transfer in transfers])
            transfers = self.deliver(stage, claim)
        return transfers

    def settle(
        self, transfer: Transfer, outcome: Any, node: str | int = "", **fields: str | int
    ) -> str:
        """Settle a stage of one transfer, and return the state that it has then."""
        settlement = Settlement(transfer, outcome, fields)
        [state] = self.record.settle([settlement], node=str(node)).values()
        return state

    def retry_later(self, transfer: Transfer, gate: str = "", **options: float) -> str:
        """Let a stage fail for now, and return the state of the upload then."""
        plan: dict[str, float | str] = {"kind": "Refused", "error": "no", "gate": gate}
        plan |= {"max_tries": 9, "patience_s": HOUR_S, "delay_s": 2, "cap_s": 60}
        plan |= {"jitter": 1, "at_least_s": 0, **options}
        [state] = self.record.settle([Settlement(transfer, "retrying", {}, plan)]).values()
        return state

    def fail(self, transfer: Transfer, error: UploadError, node: str = "w1") -> str:
        """Let a stage end with an error on a node, and return the state of the upload then."""
        if isinstance(error, RetryableError):
            plan = retry_plan(error, node=node)
        else:
            plan = final_verdict(error, own_fault(error), node)
        settlement = Settlement(transfer, "retrying", {}, plan)
        return self.record.settle([settlement], node=node)[transfer.upload_id]

    def take_tasks(self, *workers: str) -> None:
        """Note that these workers take tasks, as they do themselves."""
        for worker in workers:
            self.client.zadd(keys.WORKERS, {worker: self.now()})

    def make_due(self) -> None:
        """End the delays of all retries."""
        for upload_id in self.client.zrange(keys.RETRYING, 0, -1):
            self.client.zadd(keys.RETRYING, {upload_id: 0})
        self.record.apply_due()

    def store(self, transfer: Transfer, fingerprint: str = "x") -> str:
        """Note that the bytes of a member are in the store; it has then ended."""
        known = replace(transfer, identity=FileIdentity(SIZE, 1, 2, 3), checksum=fingerprint)
        file = self.record.form.file_field(known)
        return self.settle(transfer, "stored", size=SIZE, file=file, stored=fingerprint)

    def field(self, upload_id: str, name: str) -> str:
        """Return a field of a record; empty if it has none."""
        return self.client.hget(keys.upload_key(upload_id), name) or ""

    def state(self, upload_id: str) -> str:
        return self.field(upload_id, "state")

    def states(self, upload_ids: Sequence[str]) -> list[str]:
        return [self.state(upload_id) for upload_id in upload_ids]

    def counted(self, name: str) -> int | dict[str, int]:
        """Return a lifetime counter, by kind if it has kinds."""
        totals = counters.read(self.client)
        return totals.by_kind.get(name) or totals.plain.get(name, 0)

    def now(self) -> float:
        """Return the time of Redis's clock."""
        seconds, microseconds = self.client.time()
        return float(seconds + microseconds / 1e6)


def file_of(
    component: Target | None = None, size: int | None = SIZE, **options: Any
) -> UploadRequest:
    """Return a request for a file of its own, for a component of its own if none is given."""
    target = component or Target(str(uuid.uuid4()))
    return UploadRequest(f"/mnt/{uuid.uuid4()}.exr", target, size, 1, **options)


def sequence_of(*files: UploadRequest | int, name: str = "exr") -> PublishRequest:
    """Return a publish of these members; a number makes so many of its own."""
    sequence = Target.under_version(str(uuid.uuid4()), name)
    members: list[UploadRequest] = []
    for file in files:
        made = range(file) if isinstance(file, int) else ()
        members += [member_of(Target.frame(sequence, str(number))) for number in made]
        members += [] if isinstance(file, int) else [file]
    publish = Publish((Container(sequence, ".exr", 4),))
    return PublishRequest("/mnt", sequence.component_id, publish, tuple(members))


def member_of(component: Target | None = None) -> UploadRequest:
    """Return a file of a publish."""
    return file_of(component, is_member=True)
