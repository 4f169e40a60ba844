"""The record of an upload, as workers use it: they claim it, renew the claim, and settle stages.

docs/state.md lists the fields of a record. Only the scripts in ``lua/`` move an upload to another
state, so that each move is atomic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import redis

from tasks.config.sealing import Signer, stored_signer
from tasks.config.settings import Settings
from tasks.records.delivery import Delivery, Settlement, final_verdict
from tasks.records.form import RecordForm
from tasks.records.keys import RETRYING, gate_key, pending_key, to_text
from tasks.records.numbers import number
from tasks.records.scripts import Scripts, open_scripts
from tasks.records.states import SERVICES, STAGES
from tasks.transfer.errors import SealBrokenError
from tasks.transfer.models import LARGE_BYTES, Transfer
from tasks.transfer.targets import Target

#: The bounds of a claim: up to 50 uploads keep one API call short; up to 256 MiB keep a task so
#: short that a hung one can be distinguished from a slow one.
CLAIM_UPLOADS = 50
CLAIM_BYTES = 256 << 20
#: A claim whose chain never ends is forgotten after a week; its uploads are reclaimed long before.
CLAIM_TTL_S = 7 * 86400
#: An upload that was delivered more often than this to one stage has killed its workers.
MAX_DELIVERIES = 5
#: A publish whose members were not all recorded within a day fails.
OPEN_PUBLISH_S = 86400
#: Limits of one run of the reconciler, so that it never blocks Redis for long.
MAX_DUE = 1000
MAX_OVERDUE = 100
MAX_LOST = 50
MAX_HOSTS = 1000
#: The target of a request that cannot be read.
_NO_TARGET = Target(component_id="")


class DeliveredRow(NamedTuple):
    """A row of ``deliver.lua``: text, empty where the record has nothing yet."""

    upload_id: str
    fence: str
    request: str
    file: str
    stored: str
    stored_seal: str
    size: str
    located: str
    doubted: str = ""
    others_left: str = ""


class Settled(dict[str, str]):
    """The state of each upload that was settled; "lost" if another delivery has taken it over."""

    #: The hosts that need a wake-up ("" for all nodes), because publishes have all files now.
    to_wake: Sequence[str] = ()


class Record:
    """Moves uploads through the stages; one instance a process."""

    def __init__(
        self,
        scripts: Scripts,
        path_map: Sequence[tuple[str, str]] = (),
        signer: Signer | None = None,
    ) -> None:
        """Use *scripts*, and read paths as this node does (FARMHAUL_PATH_MAP).

        *signer* signs what the record says is stored.
        """
        self.scripts = scripts
        self.form = RecordForm(scripts.codec, path_map, signer or Signer(()))

    def deliver(self, claim_id: str, stage: str, worker: str, host: str = "") -> Delivery:
        """Take the transfers of a claim that are still its own, each under a new fencing token.

        The first stage makes the claim, from the pending uploads of *host*, or from those that
        all nodes see when it is empty.
        """
        rows, to_wake = self.scripts.run(
            "deliver",
            claim=claim_id,
            stage=STAGES.index(stage) + 1,
            worker=worker,
            lease_s=self.scripts.lease_s,
            host=host,
            max_uploads=CLAIM_UPLOADS,
            max_bytes=CLAIM_BYTES,
            claim_ttl_s=CLAIM_TTL_S,
            ttl_s=self.scripts.ttl_s,
            max_deliveries=MAX_DELIVERIES,
            large_bytes=LARGE_BYTES,
        )
        hosts = [to_text(host) for host in to_wake]
        if rows and len(rows[0]) == 1:
            return Delivery(to_wake=hosts, left_to=to_text(rows[0][0]))
        delivery = Delivery(to_wake=hosts)
        for row in rows:
            delivered = DeliveredRow(*map(to_text, row))
            try:
                transfer = self._transfer_of(delivered)
            except (SealBrokenError, ValueError) as error:
                unreadable = Transfer(
                    delivered.upload_id, _NO_TARGET, "", fence=int(delivered.fence or 0)
                )
                # Another node may have the key, or the version, that this one lacks.
                verdict = final_verdict(error, "records", worker)
                delivery.refused.append(Settlement(unreadable, "retrying", {}, verdict))
                continue
            delivery.transfers.append(transfer)
            if not delivered.size:
                delivery.unsized.add(delivered.upload_id)
        return delivery

    def _transfer_of(self, delivered: DeliveredRow) -> Transfer:
        """Return the transfer of a record.

        Raises:
            SealBrokenError, ValueError: this node cannot read it.
        """
        transfer = self.form.read(
            delivered.upload_id,
            delivered.request,
            delivered.file,
            (delivered.stored, delivered.stored_seal),
            int(delivered.fence or 0),
            was_located=bool(delivered.located),
        )
        if delivered.doubted:
            transfer = replace(transfer, doubted=True)
        if delivered.others_left:
            transfer = replace(transfer, others_left=True)
        if transfer.publish and delivered.size:
            return replace(transfer, total_bytes=int(number(delivered.size)))
        return transfer

    def settle(
        self,
        settlements: Sequence[Settlement],
        answered: Sequence[str] = (),
        passed: int = 0,
        node: str = "",
        *,
        reached: bool = False,
        into: str = "",
    ) -> Settled:
        """Note what a stage has done with its transfers.

        Args:
            settlements: one for each transfer; all have been in the same stage.
            answered: the services that have answered, so that their gates open.
            passed: how many of the transfers have shown that the service of the stage is up.
            node: the worker that ran the stage.
            reached: whether the node got any answer of that service, which may fail the uploads
                nevertheless.
            into: a new claim for those that advance without the rest of their batch.
        """
        rows = [
            {
                "id": settlement.transfer.upload_id,
                "fence": settlement.transfer.fence,
                "outcome": settlement.outcome,
                "fields": self._sealed(settlement.fields),
                "retry": self._sealed_retry(settlement.retry),
            }
            for settlement in settlements
        ]
        if not rows:
            return Settled()
        states, hosts = self.scripts.run(
            "settle",
            settlements=rows,
            answered=list(answered),
            passed=passed,
            reached=reached or passed > 0,
            node=node,
            into=into,
            lease_s=self.scripts.lease_s,
            claim_ttl_s=CLAIM_TTL_S,
            ttl_s=self.scripts.ttl_s,
            large_bytes=LARGE_BYTES,
        )
        settled = Settled((to_text(upload_id), to_text(state)) for upload_id, state in states)
        settled.to_wake = [to_text(host) for host in hosts]
        return settled

    def _sealed(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        # An error may name a path, so it is sealed. One of a node that lacks the key names none.
        codec = self.scripts.codec
        is_sealed = fields.get("own") != "records"
        return {
            name: codec.seal_text(value) if name == "error" and is_sealed else value
            for name, value in fields.items()
        }

    def _sealed_retry(self, retry: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if retry is None:
            return None
        return self._sealed(retry) | {"alone": self._sealed(retry.get("alone", {}))}

    def heartbeat(
        self,
        claim_id: str,
        sent: Mapping[str, tuple[int, int]],
        run: tuple[int, int] | None = None,
    ) -> set[str]:
        """Renew a claim in the middle of a stage, and note progress.

        Args:
            claim_id: the claim.
            sent: for each upload its fencing token, and the bytes sent so far (-1: unknown).
            run: of a large file, the number of a run and the bytes of its unfinished parts.

        Returns:
            The uploads that are no longer this delivery's.
        """
        rows = [
            {"id": upload_id, "fence": fence, "sent": sent_bytes}
            for upload_id, (fence, sent_bytes) in sent.items()
        ]
        number, ahead = run or (None, None)
        lost = self.scripts.run(
            "heartbeat",
            claim=claim_id,
            lease_s=self.scripts.lease_s,
            ttl_s=self.scripts.ttl_s,
            sent=rows,
            run=number,
            ahead=ahead,
        )
        return {to_text(upload_id) for upload_id in lost}

    def renew(self, clock_s: float, tags: Sequence[str], claims: Sequence[str]) -> None:
        """Renew the leases that a worker holds: of messages, by delivery tag, and of claims.

        ``clock_s`` is the worker's own clock, with which kombu compares the tags' scores.
        """
        self.scripts.run(
            "renew",
            lease_s=self.scripts.lease_s,
            clock_s=clock_s,
            tags=list(tags),
            claims=list(claims),
        )

    def apply_due(self) -> tuple[dict[str, int], list[str]]:
        """Apply time-based changes: due retries become pending, old open publishes fail.

        Returns:
            The number of pending uploads by host, of MAX_HOSTS hosts at most, and of those that all
            nodes see (""), and the claims whose deadline has passed.
        """
        pending, overdue = self.scripts.run(
            "apply_due",
            ttl_s=self.scripts.ttl_s,
            max_uploads=MAX_DUE,
            max_claims=MAX_OVERDUE,
            open_s=OPEN_PUBLISH_S,
            max_hosts=MAX_HOSTS,
        )
        counts = {to_text(host): int(count) for host, count in pending}
        return counts, [to_text(claim_id) for claim_id in overdue]

    def next_due_s(self) -> float:
        """Return in how many seconds the next retry is due, or a gate lets a probe through."""
        seconds, microseconds = self.scripts.client.time()
        now = seconds + microseconds / 1e6
        pipeline = self.scripts.client.pipeline(transaction=False)
        pipeline.zrangebyscore(RETRYING, f"({now}", "+inf", start=0, num=1, withscores=True)
        for service in SERVICES:
            pipeline.hget(gate_key(service), "until")
        # An error stands for a key of another type, which the scripts repair.
        retries, *gates = pipeline.execute(raise_on_error=False)
        times = [number(until) for until in gates if not isinstance(until, Exception)]
        if isinstance(retries, list):
            times += [at for _, at in retries]
        return min((at - now for at in times if at > now), default=math.inf)

    def pending_on(self, hosts: Iterable[str]) -> dict[str, int]:
        """Return the number of pending uploads that each of these hosts alone sees."""
        names = [*hosts]
        pipeline = self.scripts.client.pipeline(transaction=False)
        for host in names:
            pipeline.zcard(pending_key(host))
        # An error stands for a key of another type, which the scripts repair.
        counts = pipeline.execute(raise_on_error=False)
        pairs = zip(names, counts, strict=True)
        return {host: count for host, count in pairs if isinstance(count, int)}

    def find_lost(self) -> int:
        """Make uploads pending again that are in no index any more; return their number."""
        silent_s = 3 * self.scripts.lease_s
        ttl_s = self.scripts.ttl_s
        run = self.scripts.run
        return int(run("find_lost", max_uploads=MAX_LOST, silent_s=silent_s, ttl_s=ttl_s))

    def reclaim(self, claim_id: str) -> int:
        """Make the uploads of a lost claim pending again, and return their number."""
        return int(self.scripts.run("reclaim", claim=claim_id, ttl_s=self.scripts.ttl_s))


def open_record(settings: Settings, client: redis.Redis) -> Record:
    """Return the records as the environment describes them."""
    return Record(open_scripts(settings, client), settings.path_map, stored_signer(settings))
