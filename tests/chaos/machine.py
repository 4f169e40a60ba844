"""What may happen to records, in any order, and what is true at any time (hypothesis)."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import redis
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from tasks.config.sealing import Codec
from tasks.intake.request import UploadRequest
from tasks.records.commands import Commands
from tasks.records.delivery import Outcome, Settlement
from tasks.records.keys import PENDING, WORKERS, gate_key, upload_key
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.records.states import ENDED, LIVE, SERVICES, STAGES
from tasks.stage.retry_policy import retry_plan
from tasks.transfer import errors
from tasks.transfer.models import Transfer
from tasks.transfer.targets import Target
from tests.chaos.healing import let_time_pass
from tests.chaos.invariants import moves_of, records, wrong_indexes
from tests.helpers.looks import let_an_hour_pass

TARGETS = [Target.under_version(str(uuid.UUID(int=1)), name) for name in ("main", "matte", "id")]
COMPONENTS = [target.component_id for target in TARGETS]
#: Files of two folders never follow each other in a component, unless they replace each other.
FOLDERS = ["/mnt", "/mnt", "/other"]
CLAIMS = ["claim one", "claim two"]
OUTCOMES: list[Outcome] = ["advanced", "retrying", "failed", "pending"]
ERRORS: list[errors.RetryableError] = [
    errors.ServiceUnavailableError("ftrack", "502"),
    errors.ServiceUnavailableError("store", "503"),
    errors.FileChangedError("/a", "size"),
    errors.CredentialsRefusedError("https://a", "no"),
    errors.FileNotReadyError("/a", "No such file or directory"),
]
#: Two nodes: what may be the fault of one is handed over to the other.
NODES = ["w1@node7", "w2@node8"]

#: What closes gates.
OUTAGES = [ERRORS[0], ERRORS[1], ERRORS[3]]

#: The scripts that each act runs: only they may move an upload.
SCRIPTS = {
    "enqueue": {"enqueue"},
    "retry": {"enqueue"},
    "deliver": {"deliver"},
    "settle": {"settle"},
    "cancel": {"cancel"},
    "apply due": {"apply_due"},
    "reclaim": {"reclaim"},
    "heartbeat": {"heartbeat"},
    "pass time": set[str](),
}


class Uploads(RuleBasedStateMachine):
    """Hooks, several claims of several workers, operators and the reconciler."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self.client: Any = client
        self.record = Record(Scripts(client, Codec([])))
        self.commands = Commands(self.record.scripts)
        #: All that workers were ever handed: (stage, transfer); old ones too.
        self.held: list[tuple[str, str, Transfer]] = []
        #: Who sends the bytes of a component, and has not said that it is done.
        self.sending: dict[str, Transfer] = {}
        self.fences: dict[str, int] = {}
        #: The folder whose files each component holds.
        self.folders: dict[str, str] = {}
        self.states: dict[str, str] = {}
        #: The claims of what went on without the rest of its batch.
        self.parts: list[str] = []
        #: All that hooks have asked for, by the upload.
        self.asked: dict[str, UploadRequest] = {}
        #: The uploads whose bytes were looked at within the hour, and not sent since.
        self.seen: set[str] = set()
        self.act = "pass time"

    @initialize()
    def begin(self) -> None:
        self.client.flushall()
        self.note_nodes()

    # What happens

    @rule(
        component=st.sampled_from(COMPONENTS),
        version=st.integers(0, 2),
        folder=st.sampled_from(FOLDERS),
        replace=st.booleans(),
        stat=st.booleans(),
        spooled=st.booleans(),
    )
    def enqueue(
        self, component: str, version: int, folder: str, *, replace: bool, stat: bool, spooled: bool
    ) -> None:
        self.act = "enqueue"
        size, mtime = (100 + version, version) if stat else (None, None)
        asked_at = 1.0 if spooled else None
        target = TARGETS[COMPONENTS.index(component)]._replace(replace=replace)
        request = UploadRequest(f"{folder}/a.exr", target, size, mtime, asked_at=asked_at)
        self.asked[request.upload_id] = request
        held = self.folders.get(component, folder)
        [(state, new)] = self.commands.enqueue([request])
        assert state == self.fields(request.upload_id)["state"]
        assert not new or state == "pending"
        if new:
            assert replace or held == folder, "other files took over a component"
            self.folders[component] = folder
        elif held != folder:
            event("other files are refused")
            assert state in ENDED

    @rule(data=st.data(), claim=st.sampled_from(CLAIMS), later=st.booleans())
    def enqueue_again(self, data: st.DataObject, claim: str, *, later: bool) -> None:
        # By chance alone hardly any of these would.
        located = sorted(one for one, state in self.states.items() if state == "located")
        if not located:
            return
        if later:
            self.an_hour_passes()
        self.act = "enqueue"
        self.commands.enqueue([self.asked[data.draw(st.sampled_from(located))]])
        self.go_through(claim, STAGES)

    @rule(claim=st.sampled_from(CLAIMS), stage=st.sampled_from(STAGES), node=st.sampled_from(NODES))
    def deliver(self, claim: str, stage: str, node: str = NODES[0]) -> None:
        self.act = "deliver"
        self.note_nodes()
        before = dict(records(self.client))
        gates = [gate for gate in self.gate_hashes() if "until" in gate]
        to_probe = self.over(gates)
        struck = {name for gate in to_probe for name in gate if name.startswith("struck:")}
        fresh = [
            one
            for one in self.pending()
            if f"struck:{one}" not in struck and node not in before[one].get("tried", "")
        ]
        is_new = not self.client.exists(f"farmhaul:claim:{claim}")
        delivery = self.record.deliver(claim, stage, node)
        # A gate may be over by the time the script runs.
        is_closed = len(self.over(gates)) < len(gates)
        assert delivery.refused == []
        if delivery.left_to:
            event("a stage is left to the other node")
            assert {delivery.left_to, node} == {*NODES}
            for upload_id, fields in records(self.client):
                self.is_left(claim, stage, before[upload_id], fields)
        if is_new and (is_closed or to_probe):
            probed = [one.upload_id for one in delivery.transfers]
            event(f"probes with {len(probed)}")
            assert len(probed) <= (0 if is_closed else 1), "more than a probe passes a gate"
            assert not fresh or set(probed) <= set(fresh), "a probe that may fail by its own fault"
        for one in delivery.transfers:
            fields = self.fields(one.upload_id)
            assert fields["state"] == "active"
            assert fields["claim"] == claim
            assert int(fields["fence"]) == one.fence
            old = before[one.upload_id]
            assert one.fence > int(old.get("fence", 0))
            if old["state"] == "active":
                assert int(old["stage"]) <= STAGES.index(stage) + 1, "no way back"
            before_this = int(old["done"]) if old["state"] == "active" else 0
            assert before_this >= STAGES.index(stage), "no stage is left out"
            is_shown = bool(old.get("located") and old.get("stored"))
            assert one.doubted == (is_shown and one.upload_id not in self.seen)
            self.held.append((claim, stage, one))
            if stage == "put_file":
                sender = self.sending.setdefault(one.component_id, one)
                assert sender.upload_id == one.upload_id, "two files at once for a component"
                self.sending[one.component_id] = one

    def is_left(self, claim: str, stage: str, old: dict[str, str], fields: dict[str, str]) -> None:
        """Check that a stage is not delivered that is left to the other node."""
        if fields == old:
            return
        event("a delivery has ended with its process")
        number = STAGES.index(stage) + 1
        assert (old["state"], old["claim"]) == ("active", claim)
        assert int(old["stage"]) <= number, "it is further on already"
        # Once all nodes have tried it, none is left to name.
        tried = json.loads(fields.get("tried", "{}"))
        assert tried or len(json.loads(old["tried"])) == len(NODES) - 1
        if stage == STAGES[0]:
            assert fields["state"] == "pending"
            assert int(fields["fence"]) > int(old["fence"])
        else:
            assert all(fields[name] == old[name] for name in ("state", "claim", "stage", "fence"))

    @rule(claim=st.sampled_from(CLAIMS), node=st.sampled_from(NODES))
    def draw(self, claim: str, node: str) -> None:
        self.deliver(claim, STAGES[0], node)

    @rule(error=st.sampled_from(OUTAGES))
    def outage(self, error: errors.RetryableError) -> None:
        # All that is under way meets it. By chance alone three uploads in a row hardly ever would.
        for _, stage, one in list(self.held):
            if self.is_ours(one):
                self.all_moves_are_legal()
                self.settle_one(stage, one, "retrying", retry_plan(error))

    @rule(data=st.data())
    def carry_on(self, data: st.DataObject) -> None:
        # As a chain does. By chance alone few stories would ever get to the last stage.
        ours = [one for one in self.held if self.is_ours(one[2])]
        if not ours:
            return
        claim, stage, one = data.draw(st.sampled_from(ours))
        if stage == STAGES[-1]:
            self.settle_one(stage, one, "located")
            return
        self.settle_one(stage, one, "advanced")
        self.all_moves_are_legal()
        self.deliver(claim, STAGES[STAGES.index(stage) + 1], data.draw(st.sampled_from(NODES)))

    @rule(data=st.data(), is_sent=st.booleans())
    def go_on_without_the_batch(self, data: st.DataObject, *, is_sent: bool) -> None:
        # Without the message, the worker was killed before it could send it.
        ours = [one for one in self.held if self.is_ours(one[2]) and one[1] != STAGES[-1]]
        if not ours:
            return
        old, stage, one = data.draw(st.sampled_from(ours))
        claim = f"part {len(self.parts)}"
        self.parts.append(claim)
        self.settle_one(stage, one, "advanced", into=claim)
        self.all_moves_are_legal()
        following = STAGES[STAGES.index(stage) + 1]
        for again in (stage, following):
            before = len(self.held)
            self.deliver(old, again)
            self.all_moves_are_legal()
            assert one.upload_id not in {other.upload_id for _, _, other in self.held[before:]}
        if is_sent:
            self.deliver(claim, following, data.draw(st.sampled_from(NODES)))

    @rule(data=st.data(), claim=st.sampled_from(CLAIMS), version=st.integers(0, 2))
    def overtake(self, data: st.DataObject, claim: str, version: int) -> None:
        # A newer file comes as far as it can while an older one is still being sent.
        if not self.sending:
            return
        component = data.draw(st.sampled_from(sorted(self.sending)))
        folder = self.folders[component]
        self.enqueue(component, version, folder, replace=False, stat=True, spooled=False)
        self.go_through(claim, STAGES[:2])
        self.all_moves_are_legal()
        self.deliver(claim, STAGES[2])

    @rule(
        component=st.sampled_from(COMPONENTS),
        version=st.integers(0, 2),
        claim=st.sampled_from(CLAIMS),
    )
    def upload(self, component: str, version: int, claim: str) -> None:
        # Nothing holds it up. By chance alone hardly any upload would be located.
        folder = self.folders.get(component, FOLDERS[0])
        self.enqueue(component, version, folder, replace=False, stat=True, spooled=False)
        self.go_through(claim, STAGES)

    def go_through(self, claim: str, stages: Sequence[str]) -> None:
        for stage in stages:
            self.all_moves_are_legal()
            self.deliver(claim, stage)
            for held_claim, held_stage, one in list(self.held):
                if (held_claim, held_stage) == (claim, stage):
                    self.all_moves_are_legal()
                    self.settle_one(stage, one, "located" if stage == STAGES[-1] else "advanced")

    @rule(
        data=st.data(),
        outcome=st.sampled_from([*OUTCOMES, "advanced", "located"]),
        answered=st.sampled_from(["", "", *SERVICES]),
    )
    def settle(self, data: st.DataObject, outcome: Outcome, answered: str) -> None:
        if not self.held:
            return
        _, stage, one = data.draw(st.sampled_from(self.held))
        if (outcome == "located") != (stage == STAGES[-1] and outcome in {"advanced", "located"}):
            outcome = "located" if outcome == "advanced" else "advanced"
        wait = retry_plan(data.draw(st.sampled_from(ERRORS))) if outcome == "retrying" else None
        self.settle_one(stage, one, outcome, wait, answered if outcome == "advanced" else "")

    def settle_one(
        self,
        stage: str,
        one: Transfer,
        outcome: Outcome,
        wait: dict[str, Any] | None = None,
        answered: str = "",
        *,
        into: str = "",
    ) -> None:
        self.act = "settle"
        self.note_nodes()
        event(f"{outcome} after {stage}")
        if self.sending.get(one.component_id) == one:
            del self.sending[one.component_id]
        before = self.fields(one.upload_id)
        fields: dict[str, Any] = {"told": "1"}
        if (stage, outcome) == ("put_file", "advanced"):
            fields["stored"] = f"bytes under {one.fence}"
        if (stage, outcome, one.doubted) == ("get_put_metadata", "advanced", True):
            event("the store is asked")
            fields["seen"] = 1
        settlement = Settlement(one, outcome, fields, wait)
        services = [answered] if answered else []
        node = before.get("worker", "")
        answer = self.record.settle([settlement], services, len(services), node=node, into=into)
        assert not answered or not self.client.exists(gate_key(answered))
        after = self.fields(one.upload_id)
        if before["state"] == "active" and int(before["fence"]) == one.fence:
            assert answer == {one.upload_id: after["state"]}
            if "stored" in fields:
                self.seen.discard(one.upload_id)
            elif "seen" in fields:
                self.seen.add(one.upload_id)
        else:
            assert answer == {one.upload_id: "lost"}
            assert after == before, "an old fence writes nothing"

    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        if not self.held:
            return
        self.act = "heartbeat"
        claim, _, one = data.draw(st.sampled_from(self.held))
        before = self.fields(one.upload_id)
        lost = self.record.heartbeat(claim, {one.upload_id: (one.fence, 7)})
        ours = before["state"] == "active" and int(before["fence"]) == one.fence
        assert lost == (set() if ours else {one.upload_id})
        assert ours or self.fields(one.upload_id) == before

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.states:
            self.act = "cancel"
            upload_id = data.draw(st.sampled_from(sorted(self.states)))
            assert self.commands.cancel(upload_id) in ENDED

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        if self.states:
            self.act = "retry"
            upload_id = data.draw(st.sampled_from(sorted(self.states)))
            if self.commands.retry(upload_id).is_new:
                self.seen.discard(upload_id)

    @rule()
    def tick(self) -> None:
        self.act = "apply due"
        counts, overdue = self.record.apply_due()
        assert counts[""] == self.client.zcard("farmhaul:pending")
        assert set(overdue) <= set(self.client.zrange("farmhaul:claims", 0, -1))

    @rule(data=st.data())
    def reclaim(self, data: st.DataObject) -> None:
        self.act = "reclaim"
        self.record.reclaim(data.draw(st.sampled_from([*CLAIMS, *self.parts])))

    @rule()
    def what_waits_is_due(self) -> None:
        self.act = "pass time"
        let_time_pass(self.client)

    @rule()
    def an_hour_passes(self) -> None:
        self.act = "pass time"
        let_an_hour_pass(self.client)
        self.seen.clear()

    @rule()
    def leases_run_out(self) -> None:
        self.act = "pass time"
        self.sending.clear()
        for claim in self.client.zrange("farmhaul:claims", 0, -1):
            self.client.zadd("farmhaul:claims", {claim: 0})
        for component in COMPONENTS:
            if self.client.hexists(f"farmhaul:component:{component}", "putting"):
                self.client.hset(f"farmhaul:component:{component}", "putting_until", 0)

    # What is true at any time

    @invariant()
    def each_record_is_in_order(self) -> None:
        found = dict(records(self.client))  # read once: most of the time goes into reading
        self.all_moves_are_legal(found)
        self.fences_only_grow(found)
        self.a_component_has_one_live_upload_at_most_and_it_is_the_current_one(found)
        self.records_of_ended_uploads_alone_go_away_by_themselves(found)

    def all_moves_are_legal(self, found: dict[str, dict[str, str]] | None = None) -> None:
        for upload_id, fields in (found or dict(records(self.client))).items():
            move = (self.states.get(upload_id, ""), fields["state"])
            is_legal = move[0] == move[1] or move in moves_of(SCRIPTS[self.act])
            assert is_legal, (self.act, move)
            self.states[upload_id] = fields["state"]

    def fences_only_grow(self, found: dict[str, dict[str, str]]) -> None:
        for upload_id, fields in found.items():
            fence = int(fields.get("fence", 0))
            assert fence >= self.fences.get(upload_id, 0)
            self.fences[upload_id] = fence

    @invariant()
    def each_upload_is_in_the_indexes_of_its_state_alone(self) -> None:
        assert list(wrong_indexes(self.client)) == []

    @invariant()
    def each_claim_that_holds_uploads_can_be_found_when_it_is_lost(self) -> None:
        keys = {key.removeprefix("farmhaul:claim:") for key in self.keys("farmhaul:claim:*")}
        assert keys == set(self.client.zrange("farmhaul:claims", 0, -1))
        assert all(self.client.ttl(f"farmhaul:claim:{claim}") > 0 for claim in keys)

    def a_component_has_one_live_upload_at_most_and_it_is_the_current_one(
        self, found: dict[str, dict[str, str]]
    ) -> None:
        for component in COMPONENTS:
            live = [
                upload_id
                for upload_id, fields in found.items()
                if fields["component"] == component and fields["state"] in LIVE
            ]
            current = self.client.hget(f"farmhaul:component:{component}", "current")
            assert live in ([], [current])

    def records_of_ended_uploads_alone_go_away_by_themselves(
        self, found: dict[str, dict[str, str]]
    ) -> None:
        pipeline = self.client.pipeline(transaction=False)
        for upload_id in found:
            pipeline.ttl(upload_key(upload_id))
        for fields, ttl in zip(found.values(), pipeline.execute(), strict=True):
            assert (ttl == -1) == (fields["state"] in LIVE)

    @invariant()
    def a_gate_closes_on_several_uploads_and_several_nodes_alone(self) -> None:
        for service, gate in zip(SERVICES, self.gate_hashes(), strict=True):
            struck = {name: node for name, node in gate.items() if name.startswith("struck:")}
            # An upload may fail on one node after the other; then its field names the last one.
            failed = Counter({node: int(gate.get(f"node:{node}", 0)) for node in NODES})
            nodes = {node for node, count in failed.items() if count}
            assert len(struck) == int(gate.get("strikes", 0)) <= failed.total()
            assert {*struck.values()} <= nodes
            assert len(nodes) == int(gate.get("nodes", 0))
            if "until" in gate:
                event(f"the gate of {service} has closed")
                assert len(struck) >= 3
                assert len(nodes) >= 2
            for node in NODES:
                if f"until:{node}" in gate:
                    event("a node waits by itself")
                    assert failed[node] >= 3

    def note_nodes(self) -> None:
        """Say that both nodes take uploads now: a time far ahead counts for nothing."""
        seconds, _ = self.client.time()
        self.client.zadd(WORKERS, dict.fromkeys(NODES, seconds))

    def over(self, gates: list[dict[str, str]]) -> list[dict[str, str]]:
        """Return those of the gates that let a probe through by now."""
        seconds, microseconds = self.client.time()
        return [one for one in gates if max(latest(one)) <= seconds + microseconds / 1e6]

    def gate_hashes(self) -> list[dict[str, str]]:
        pipeline = self.client.pipeline(transaction=False)
        for service in SERVICES:
            pipeline.hgetall(gate_key(service))
        gates: list[dict[str, str]] = pipeline.execute()
        return gates

    def pending(self) -> list[str]:
        ids: list[str] = self.client.zrange(PENDING, 0, -1)
        return ids

    def is_ours(self, one: Transfer) -> bool:
        fields = self.fields(one.upload_id)
        return fields["state"] == "active" and int(fields["fence"]) == one.fence

    def fields(self, upload_id: str) -> dict[str, str]:
        fields: dict[str, str] = self.client.hgetall(upload_key(upload_id))
        return fields

    def keys(self, pattern: str) -> list[str]:
        return list(self.client.scan_iter(pattern))


def latest(gate: dict[str, str]) -> list[float]:
    """Return until when a gate is closed, and until when its probe is awaited."""
    return [float(gate.get(name, 0)) for name in ("until", "probed")]
