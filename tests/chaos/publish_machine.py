"""What may happen to publishes and their files, in any order (hypothesis).

Publishes share frames, as when a sequence is enqueued by itself and with its movie, or in parts;
hooks are killed while they write, frames rendered again, and files fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import redis
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tasks.config.sealing import Codec
from tasks.intake.request import PublishRequest, UploadRequest
from tasks.records.commands import Commands
from tasks.records.delivery import Settlement
from tasks.records.keys import upload_key
from tasks.records.publishes import Publishes
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.records.states import LIVE, STAGES
from tasks.stage.retry_policy import retry_plan
from tasks.transfer import errors
from tasks.transfer.models import FileIdentity, Transfer
from tasks.transfer.targets import Container, Publish, Target, derived_id
from tests.chaos.healing import let_time_pass
from tests.chaos.invariants import reachable, records, wrong_indexes
from tests.helpers.looks import HOUR_S, let_an_hour_pass

SEQUENCE = Target.under_version(derived_id("version", "one"), "exr")
MOVIE = Target.under_version(derived_id("version", "one"), "movie")
FRAMES = [Target.frame(SEQUENCE, str(number)) for number in (1, 2)]
#: What hooks enqueue: the component that stands for it, and the files, by number.
TARGETS = [*FRAMES, MOVIE]
ASKED = {
    "the sequence": (SEQUENCE.component_id, [0, 1]),
    "its first frame": (SEQUENCE.component_id, [0]),
    "its other frame": (SEQUENCE.component_id, [1]),
    "all": (derived_id("publish", "all"), [0, 1, 2]),
}
CLAIMS = ["claim one", "claim two"]
#: The scripts that each act runs: only they may move an upload.
SCRIPTS = {
    "enqueue": {"enqueue", "complete_publish"},
    "work": {"deliver", "settle"},
    "cancel": {"cancel"},
    "retry": {"retry_publish", "enqueue", "complete_publish"},
    "pass time": {"apply_due"},
    "lose the lease": {"reclaim"},
}
PUBLISH = Publish((Container(SEQUENCE, ".exr", 4),))


class PublishedUploads(RuleBasedStateMachine):
    """Hooks of publishes, workers, operators and the reconciler."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self.client: Any = client
        self.record = Record(Scripts(client, Codec([])))
        self.commands = Commands(self.record.scripts)
        self.versions = [0, 0, 0]
        self.asked: dict[str, PublishRequest] = {}
        self.states: dict[str, str] = {}
        self.act = "enqueue"

    @initialize()
    def begin(self) -> None:
        self.client.flushall()

    # What happens

    @rule(
        what=st.sampled_from(sorted(ASKED)),
        written=st.sampled_from([0, 1, 2, None, None, None]),
    )
    def enqueue(self, what: str, written: int | None) -> None:
        self.act = "enqueue"
        request = self.request(what)
        if written is None:
            is_live = self.fields(request.upload_id).get("state") in LIVE
            self.commands.enqueue([request])
            if not is_live:
                self.check_that_no_look_is_left_out(request)
            return
        event("a hook is killed")
        rows = [self.commands.new_record(request)]
        rows += [self.commands.new_record(one, request.upload_id) for one in request.files]
        self.commands.write(islice(rows, 1 + written))

    @rule(number=st.integers(0, 2))
    def render_anew(self, number: int) -> None:
        self.versions[number] += 1

    @rule(claim=st.sampled_from(CLAIMS), dies_after=st.sampled_from([0, 1, 2, 4, 4, 4]))
    def work(self, claim: str, dies_after: int) -> None:
        self.act = "work"
        for stage in STAGES[:dies_after]:
            delivery = self.record.deliver(claim, stage, "worker")
            assert delivery.refused == []
            self.record.settle([self.outcome(stage, one) for one in delivery.transfers])

    @rule(claim=st.sampled_from(CLAIMS), fatal=st.booleans())
    def file_fails(self, claim: str, *, fatal: bool) -> None:
        self.act = "work"
        for one in self.record.deliver(claim, STAGES[0], "worker").transfers[:1]:
            if fatal:
                event("a file fails")
                settlement = Settlement(one, "failed", {"error": "no", "error_kind": "Refused"})
            else:
                error = errors.ServiceUnavailableError("store", "503")
                settlement = Settlement(one, "retrying", {}, retry_plan(error))
            self.record.settle([settlement])

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.act = "cancel"
        if ids := self.ids():
            self.commands.cancel(data.draw(st.sampled_from(ids)))

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        self.act = "retry"
        if ids := self.ids():
            self.commands.retry(data.draw(st.sampled_from(ids)))

    @rule()
    def time_passes(self) -> None:
        self.act = "pass time"
        let_time_pass(self.client)
        self.record.apply_due()

    @rule()
    def an_hour_passes(self) -> None:
        let_an_hour_pass(self.client)

    @rule(claim=st.sampled_from(CLAIMS))
    def lease_runs_out(self, claim: str) -> None:
        self.act = "lose the lease"
        for component in self.client.scan_iter("farmhaul:component:*"):
            if self.client.hexists(component, "putting"):
                self.client.hset(component, "putting_until", 0)
        self.client.zadd("farmhaul:claims", {claim: 0}, xx=True)
        self.record.reclaim(claim)

    # What is true at any time

    @invariant()
    def all_moves_are_legal(self) -> None:
        for upload_id, fields in records(self.client):
            before = self.states.get(upload_id, "")
            assert fields["state"] in reachable(before, SCRIPTS[self.act]), (self.act, before)
            self.states[upload_id] = fields["state"]

    @invariant()
    def each_upload_is_in_the_indexes_of_its_state_alone(self) -> None:
        assert list(wrong_indexes(self.client)) == []

    @invariant()
    def a_publish_waits_for_files_alone_that_will_tell_it(self) -> None:
        known = dict(records(self.client))
        for publish_id, fields in known.items():
            if fields["state"] != "storing" or "complete" not in fields:
                continue
            left = self.client.smembers(f"farmhaul:left:{publish_id}")
            assert left, "all is stored, and it waits"
            for one in left:
                assert known[one]["state"] in LIVE, (publish_id, known[one])
                assert publish_id in known[one]["publish"].split(","), "it tells others alone"

    @invariant()
    def a_publish_is_superseded_only_when_each_of_its_files_has_a_newer_one(self) -> None:
        for publish_id, fields in records(self.client):
            if fields["state"] == "superseded" and publish_id in self.asked:
                for file in self.asked[publish_id].files:
                    key = f"farmhaul:component:{file.component_id}"
                    assert self.client.hget(key, "current") != file.upload_id, file

    @invariant()
    def records_of_ended_uploads_alone_go_away_by_themselves(self) -> None:
        for upload_id, fields in records(self.client):
            lasts = self.client.ttl(upload_key(upload_id)) == -1
            assert lasts == (fields["state"] in LIVE), fields

    def teardown(self) -> None:
        """Whatever has happened, a hook that fires once more brings all of it into ftrack."""
        request = self.request("all")
        for _ in range(2):  # the first may find one that is ended, or failing
            self.commands.enqueue([request])
            for _ in range(40):
                for claim in CLAIMS:
                    self.lease_runs_out(claim)
                self.time_passes()
                self.work(CLAIMS[0], len(STAGES))
            self.a_publish_waits_for_files_alone_that_will_tell_it()
        assert self.client.hget(upload_key(request.upload_id), "state") == "located"
        live = [one for _, one in records(self.client) if one["state"] in LIVE]
        assert all(one["state"] == "storing" and "complete" not in one for one in live), live

    def check_that_no_look_is_left_out(self, request: PublishRequest) -> None:
        seconds, _ = self.client.time()
        if self.fields(request.upload_id)["state"] not in LIVE:
            return
        for file in request.files:
            fields = self.fields(file.upload_id)
            is_due = "shown" in fields and seconds - float(fields.get("seen") or 0) >= HOUR_S
            assert fields["state"] in LIVE or not is_due, fields

    def request(self, what: str) -> PublishRequest:
        """What a hook asks for now."""
        component, numbers = ASKED[what]
        files = []
        for number in numbers:
            version = self.versions[number]
            path, target = f"/mnt/{number}.exr", TARGETS[number]
            files.append(UploadRequest(path, target, 100 + version, version, is_member=True))
        request = PublishRequest("/mnt", component, PUBLISH, tuple(files))
        self.asked[request.upload_id] = request
        return request

    def outcome(self, stage: str, one: Transfer) -> Settlement:
        """What a worker makes of a transfer when all goes well."""
        is_last = stage == STAGES[-1]
        if one.publish is not None:
            if is_last:
                try:
                    Publishes(self.record).members_of(one)
                except errors.FileRefusedError as error:
                    event("files of a publish are not stored any more")
                    return Settlement(one, "failed", {"error": str(error), "error_kind": "Gone"})
                event("a publish is located")
            return Settlement(one, "located" if is_last else "advanced")
        stored = one.stored or stage == "put_file"
        known = replace(one, identity=FileIdentity(1, 2, 3, 4), checksum="x", stored=stored)
        fields: dict[str, str | int] = {"file": self.record.form.file_field(known), "size": 1}
        fields["stored"] = known.content_fingerprint if stored else ""
        is_due = one.doubted and stage == STAGES[0]
        if one.doubted and not is_due:
            event("the store is asked")
            fields["seen"] = 1
        return Settlement(one, "stored" if stored and not is_due else "advanced", fields)

    def fields(self, upload_id: str) -> dict[str, str]:
        fields: dict[str, str] = self.client.hgetall(upload_key(upload_id))
        return fields

    def ids(self) -> Sequence[str]:
        """All uploads that there are."""
        return sorted(upload_id for upload_id, _ in records(self.client))
