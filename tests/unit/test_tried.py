"""Uploads that one node could not do: another one tries them, and the farm goes on."""

from __future__ import annotations

import json

import pytest

from tasks.config.sealing import Codec, Signer
from tasks.records import keys
from tasks.records.delivery import Settlement
from tasks.records.parts import LeftTo, PartsRecord
from tasks.records.record import CLAIM_UPLOADS
from tasks.records.states import STAGES
from tasks.records.status import Status
from tasks.stage.redaction import internal_error
from tasks.stage.retry_policy import retry_plan
from tasks.transfer import errors
from tasks.transfer.ftrack import API_CALL
from tests.unit.records import Farm, file_of

CHECKSUM, SIGN, PUT, REGISTER = STAGES
MISSING = errors.FileNotReadyError("/mnt/a.exr", "No such file or directory")
OUTSIDE = errors.FileRefusedError("/mnt/a.exr", "is outside the storage roots", "outside_roots")
NO_NAME = errors.OwnSettingsError("node7", "ftrack", "https://studio.ftrackapp.com", "no_name", "")
BY_PROXY = [
    errors.InterceptedError("ftrack", "403 Forbidden, not JSON"),
    errors.InterceptedError("store", "200 OK with a page, not the store's own"),
    errors.UrlRefusedError("a component", 403, "Forbidden", "proxy"),
    errors.StoreRefusedError("a component", 404, "Not Found", "proxy"),
    errors.UnexpectedAnswerError("the store", "the PUT", "HTTP 204 is not 200"),
    errors.UnexpectedAnswerError("ftrack", API_CALL, "HTTP 200 and JSON that is not 3 results"),
]
NO_MEMORY = internal_error(CHECKSUM, MemoryError())
REVOKED = errors.CredentialsRefusedError("https://studio.ftrackapp.com", "no such key")


def note_tried(farm: Farm, upload_ids: list[str], *nodes: str, what: str = "files") -> None:
    for upload_id in upload_ids:
        tried = json.dumps(dict.fromkeys(nodes, what))
        farm.client.hset(keys.upload_key(upload_id), "tried", tried)


def claimed_by(farm: Farm, worker: str, host: str = "") -> list[str]:
    transfers = farm.deliver(claim=f"of {worker}", worker=worker, host=host)
    return sorted(transfer.upload_id for transfer in transfers)


class TestAClaim:
    def test_leaves_what_its_node_has_tried_to_one_that_has_not(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        tried, fresh = farm.enqueue(file_of(priority="urgent"), file_of())
        note_tried(farm, [tried], "w1")

        assert claimed_by(farm, "w1") == [fresh]
        assert claimed_by(farm, "w2") == [tried]

    def test_names_the_node_that_all_of_it_is_left_to(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        [tried] = farm.enqueue(file_of())
        note_tried(farm, [tried], "w1")

        assert farm.record.deliver("in vain", CHECKSUM, "w1").left_to == "w2"

        farm.enqueue(file_of())
        assert not farm.record.deliver("claim", CHECKSUM, "w1").left_to

    @pytest.mark.parametrize("is_local", [True, False])
    def test_leaves_nothing_to_a_node_that_takes_its_own_files_alone(
        self, farm: Farm, is_local: bool
    ) -> None:
        farm.take_tasks("w1")
        note = {"version": "1", "takes_tasks": True}
        for last in (not is_local, is_local):  # it was restarted with other options
            farm.record.scripts.run("note_worker", node="w2@n", is_local=last, **note)
        ids = farm.enqueue(file_of())
        note_tried(farm, ids, "w1")

        assert claimed_by(farm, "w1") == (ids if is_local else [])
        assert Status(farm.client, Codec(())).workers() == ["w1", "w2@n"]

    def test_does_not_name_the_same_node_each_time(self, farm: Farm) -> None:
        """It may be busy for long, and another one idle."""
        farm.take_tasks("w1", "w2", "w3")
        note_tried(farm, farm.enqueue(file_of()), "w1")
        names = {farm.record.deliver(str(n), CHECKSUM, "w1").left_to for n in range(50)}
        assert names == {"w2", "w3"}

    def test_looks_beyond_a_whole_batch_that_its_node_has_tried(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        tried = farm.enqueue(*(file_of(priority="urgent") for _ in range(2 * CLAIM_UPLOADS)))
        [fresh] = farm.enqueue(file_of())
        note_tried(farm, tried, "w1")

        assert claimed_by(farm, "w1") == [fresh]

    def test_finds_what_is_behind_any_number_that_its_node_has_tried(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        tried = farm.enqueue(*(file_of(priority="urgent") for _ in range(2500)))
        [fresh] = farm.enqueue(file_of())
        note_tried(farm, tried, "w1")

        deliveries = [farm.record.deliver(str(n), CHECKSUM, "w1") for n in range(3)]

        assert [delivery.to_wake for delivery in deliveries] == [[""], [""], [""]]
        assert [one.upload_id for one in deliveries[-1].transfers] == [fresh]
        # It does not wake itself for ever, and looks at the front again.
        assert farm.record.deliver("in vain", CHECKSUM, "w1").to_wake == []
        note_tried(farm, tried[:1], "w2")
        assert claimed_by(farm, "w1") == tried[:1]

    def test_takes_what_all_nodes_have_tried(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        [upload_id] = farm.enqueue(file_of())
        note_tried(farm, [upload_id], "w1", "w2")

        assert claimed_by(farm, "w1") == [upload_id]

    def test_does_not_wait_for_a_node_that_is_gone_or_set_aside(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w3")
        farm.client.zadd(keys.WORKERS, {"w2": farm.now() - 31})
        farm.client.hset(keys.PAUSED, "w3", "{}")
        [upload_id] = farm.enqueue(file_of())
        note_tried(farm, [upload_id], "w1")

        assert claimed_by(farm, "w1") == [upload_id]

    def test_leaves_nothing_that_one_host_alone_sees(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        [upload_id] = farm.enqueue(file_of(host="node7"))
        note_tried(farm, [upload_id], "w1")

        assert claimed_by(farm, "w1", host="node7") == [upload_id]


class TestAFailureThatMayBeTheNodesOwn:
    @pytest.mark.parametrize("error", [MISSING, OUTSIDE, REVOKED, NO_NAME, NO_MEMORY, *BY_PROXY])
    def test_is_handed_over_at_once_and_counts_no_try(
        self, farm: Farm, error: errors.UploadError
    ) -> None:
        farm.take_tasks("w1", "w2")
        [upload_id] = farm.enqueue(file_of())
        [transfer] = farm.deliver()

        assert farm.fail(transfer, error, "w1") == "pending"

        assert farm.field(upload_id, "error").startswith(("on w1: ", "node7 cannot"))
        assert farm.client.exists(keys.gate_key("credentials")) == 0
        assert not [
            name for name in farm.client.hkeys(keys.upload_key(upload_id)) if "tries" in name
        ]
        assert farm.settle(transfer, "located") == "lost"
        assert claimed_by(farm, "w1") == []
        assert claimed_by(farm, "w2") == [upload_id]

    def test_is_a_try_when_all_nodes_have_met_it_and_all_may_try_again(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        [upload_id] = farm.enqueue(file_of())
        for round_ in (1, 2):
            for node, state in (("w1", "pending"), ("w2", "retrying")):
                [transfer] = farm.deliver(claim=f"{round_} {node}", worker=node)
                assert farm.fail(transfer, MISSING, node) == state
            assert farm.field(upload_id, "tries:FileNotReadyError") == str(round_)
            farm.make_due()

    def test_fails_the_upload_when_all_nodes_have_refused_it(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        [upload_id] = farm.enqueue(file_of())
        [transfer] = farm.deliver()
        assert farm.fail(transfer, OUTSIDE, "w1") == "pending"
        [transfer] = farm.deliver(claim="of w2", worker="w2")

        assert farm.fail(transfer, OUTSIDE, "w2") == "failed"

        assert farm.field(upload_id, "error").startswith("on w2: /mnt/a.exr is outside")

    @pytest.mark.parametrize(("error", "state"), [(MISSING, "retrying"), (OUTSIDE, "failed")])
    @pytest.mark.parametrize("takers", [(), ("w1",)])
    def test_is_a_verdict_at_once_with_one_node(
        self, farm: Farm, error: errors.UploadError, state: str, takers: tuple[str, ...]
    ) -> None:
        farm.take_tasks(*takers)
        farm.enqueue(file_of())
        [transfer] = farm.deliver()

        assert farm.fail(transfer, error, "w1") == state

    @pytest.mark.parametrize(
        ("gone_s", "tried", "state"),
        [(31, [], "retrying"), (60, [], "retrying"), (31, ["w2"], "failed"), (121, [], "failed")],
    )
    def test_waits_for_a_node_that_was_there_until_lately(
        self, farm: Farm, gone_s: int, tried: list[str], state: str
    ) -> None:
        farm.take_tasks("w1")
        farm.client.zadd(keys.WORKERS, {"w2": farm.now() - gone_s})
        upload_ids = farm.enqueue(file_of())
        [transfer] = farm.deliver()
        note_tried(farm, upload_ids, *tried)

        assert farm.fail(transfer, OUTSIDE, "w1") == state

    def test_waits_no_longer_than_a_node_may_stay_away(self, farm: Farm) -> None:
        """Nodes may come and go under ever new names."""
        [upload_id] = farm.enqueue(file_of())
        states = []
        for number in range(3):
            farm.client.zadd(keys.WORKERS, {f"spot-{number}": farm.now() - 31})
            [transfer] = farm.deliver(claim=str(number))
            states.append(farm.fail(transfer, OUTSIDE, "w1"))
            farm.client.hset(keys.upload_key(upload_id), "since", farm.now() - 61 * (number + 1))
            farm.make_due()

        assert states == ["retrying", "retrying", "failed"]

    def test_waits_for_no_node_that_was_set_aside(self, farm: Farm) -> None:
        farm.client.zadd(keys.WORKERS, {"w2": farm.now() - 31})
        farm.client.hset(keys.PAUSED, "w2", "{}")
        farm.enqueue(file_of())
        [transfer] = farm.deliver()

        assert farm.fail(transfer, OUTSIDE, "w1") == "failed"

    def test_of_what_ftrack_does_not_show_waits_for_no_node(self, farm: Farm) -> None:
        farm.client.zadd(keys.WORKERS, {"w2": farm.now() - 31})
        farm.enqueue(file_of())
        [transfer] = farm.deliver()

        unseen = errors.TargetRefusedError("component c1", "does not exist in ftrack")
        assert farm.fail(transfer, unseen, "w1") == "failed"

    def test_is_done_by_the_node_that_comes_back(self, farm: Farm) -> None:
        farm.take_tasks("w1")
        farm.client.zadd(keys.WORKERS, {"w2": farm.now() - 31})
        upload_ids = farm.enqueue(file_of())
        [transfer] = farm.deliver()
        farm.fail(transfer, OUTSIDE, "w1")
        farm.take_tasks("w2")
        farm.make_due()

        assert claimed_by(farm, "w2") == upload_ids

    def test_is_a_verdict_at_once_for_what_one_host_alone_sees(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        farm.enqueue(file_of(host="node7"))
        [transfer] = farm.deliver(host="node7")

        assert farm.fail(transfer, OUTSIDE, "w1") == "failed"

    def test_is_an_outage_when_three_nodes_have_met_it(self, farm: Farm) -> None:
        farm.take_tasks(*(f"w{number}" for number in range(9)))
        farm.enqueue(file_of())
        states = []
        for number in range(3):
            [transfer] = farm.deliver(claim=str(number), worker=f"w{number}")
            states.append(farm.fail(transfer, REVOKED, f"w{number}"))

        assert states == ["pending", "pending", "retrying"]
        farm.make_due()
        assert [claimed_by(farm, f"w{number}") for number in range(3)] == [[], [], []]
        assert len(claimed_by(farm, "w3")) == 1

    def test_is_a_verdict_when_six_nodes_have_met_the_same(self, farm: Farm) -> None:
        nodes = [f"w{number}" for number in range(9)]
        farm.take_tasks(*nodes)
        farm.enqueue(file_of())
        refused = errors.RequestRefusedError("c1", "sign", "PermissionError: no rights")
        states = []
        for node, error in zip(nodes, [NO_NAME, REVOKED, *[refused] * 6], strict=False):
            [transfer] = farm.deliver(claim=f"of {node}", worker=node)
            states.append(farm.fail(transfer, error, node))
            farm.make_due()

        assert states == ["pending"] * 7 + ["failed"]

    @pytest.mark.parametrize("error", [NO_NAME, NO_MEMORY])
    def test_is_forgotten_when_very_many_nodes_have_met_it(
        self, farm: Farm, error: errors.UploadError
    ) -> None:
        nodes = [f"w{number}" for number in range(40)]
        farm.take_tasks(*nodes)
        [upload_id] = farm.enqueue(file_of())
        for node in nodes[:31]:
            [transfer] = farm.deliver(claim=f"of {node}", worker=node)
            farm.fail(transfer, error, node)
            farm.make_due()
        assert len(json.loads(farm.field(upload_id, "tried"))) == 31
        [transfer] = farm.deliver(claim="of w31", worker="w31")
        farm.fail(transfer, error, "w31")

        assert farm.field(upload_id, "tried") == ""

    def test_is_no_outage_if_each_node_has_met_another_fault(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2", "w3", "w4")
        farm.enqueue(file_of())
        for node, error in (("w1", MISSING), ("w2", BY_PROXY[1]), ("w3", NO_NAME)):
            [transfer] = farm.deliver(claim=f"of {node}", worker=node)
            assert farm.fail(transfer, error, node) == "pending"

    def test_is_remembered_until_the_upload_has_ended(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        [upload_id] = farm.enqueue(file_of())
        [transfer] = farm.deliver()
        farm.fail(transfer, MISSING, "w1")
        [transfer] = farm.deliver(claim="of w2", worker="w2")

        farm.settle(transfer, "advanced")
        assert [farm.field(upload_id, name) for name in ("tried", "error")] == [
            '{"w1":"files"}',
            "",
        ]

        farm.settle(transfer, "located")
        assert farm.field(upload_id, "tried") == ""

    def test_leaves_a_record_that_a_node_cannot_read_to_another(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        [upload_id] = farm.enqueue(file_of())
        request = farm.field(upload_id, "request")
        farm.client.hset(keys.upload_key(upload_id), "request", "sealed with another key")
        refused = farm.record.deliver("claim", CHECKSUM, "w1").refused
        assert farm.record.settle(refused, node="w1") == {upload_id: "pending"}
        farm.client.hset(keys.upload_key(upload_id), "request", request)

        assert claimed_by(farm, "w2") == [upload_id]

    @pytest.mark.parametrize("passing", [0, 1, 2])
    def test_that_ftrack_has_for_one_of_a_batch_is_tried_apart(
        self, farm: Farm, passing: int
    ) -> None:
        """On the next node, it would fail a call for a batch again."""
        farm.take_tasks("w1", "w2")
        farm.enqueue(*(file_of() for _ in range(3)))
        claim = "of w1"
        first = farm.deliver(CHECKSUM, claim, worker="w1")
        farm.record.settle([Settlement(file, "advanced") for file in first])
        files = farm.deliver(SIGN, claim, worker="w1")
        good, bad = files[:passing], files[passing:]
        rows = [Settlement(file, "advanced") for file in good]
        rows += [Settlement(file, "retrying", {}, retry_plan(REVOKED, node="w1")) for file in bad]
        farm.record.settle(rows, passed=passing, node="w1")
        farm.enqueue(file_of())

        is_apart = passing == 2
        assert len(claimed_by(farm, "w2")) == (1 if is_apart else len(bad) + 1)


class TestAFileThatIsNotAsItWasAskedFor:
    OTHER = errors.FileChangedError("/mnt/a.exr", "size 5 → 9", is_here=True)

    def test_is_looked_at_by_others_and_is_no_sign_if_none_sees_it(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        for _ in range(3):
            [upload_id] = farm.enqueue(file_of())
            [transfer] = farm.deliver(claim=f"first {upload_id}")
            assert transfer.others_left
            assert farm.fail(transfer, self.OTHER) == "pending"
            [transfer] = farm.deliver(claim=upload_id, worker="w2")
            assert not transfer.others_left
            accepted = Settlement(transfer, "advanced", {}, {"differs": True})
            farm.record.settle([accepted], node="w2")
            assert farm.field(upload_id, "tried") == ""

        assert farm.client.hgetall(keys.PAUSED) == {}

    def test_has_changed_when_six_nodes_say_so(self, farm: Farm) -> None:
        nodes = [f"w{number}" for number in range(9)]
        farm.take_tasks(*nodes)
        upload_ids = farm.enqueue(file_of())
        note_tried(farm, upload_ids, *nodes[:5])
        [transfer] = farm.deliver(claim="of w5", worker="w5")
        assert transfer.others_left
        farm.fail(transfer, self.OTHER, "w5")
        [transfer] = farm.deliver(claim="of w6", worker="w6")
        assert not transfer.others_left

    def test_is_taken_as_it_is_where_one_host_alone_sees_it(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        farm.enqueue(file_of(host="node7"))
        assert not farm.deliver(host="node7")[0].others_left


class TestALaterStage:
    @pytest.mark.parametrize(
        ("what", "stages"),
        [
            ("files", [PUT]),
            ("locations", [SIGN, REGISTER]),
            ("ftrack", [SIGN, PUT, REGISTER]),
            ("records", [SIGN, PUT, REGISTER]),
            (SIGN, [SIGN, PUT, REGISTER]),
        ],
    )
    def test_is_left_to_another_node_if_its_own_needs_what_this_one_lacks(
        self, farm: Farm, what: str, stages: list[str]
    ) -> None:
        farm.take_tasks("w1", "w2")
        upload_ids = farm.enqueue(file_of(), file_of())
        transfers, left = farm.deliver(worker="w2"), []
        for stage in STAGES[1:]:
            for transfer in transfers:
                farm.settle(transfer, "advanced")
            note_tried(farm, upload_ids[:1], "w1", what=what)
            if (delivery := farm.record.deliver("claim", stage, "w1")).left_to:
                assert (delivery.left_to, delivery.transfers) == ("w2", [])
                left.append(stage)
            transfers = delivery.transfers or farm.deliver(stage, worker="w2")

        assert left == stages

    def test_runs_here_if_every_node_has_failed_at_one_of_its_uploads(self, farm: Farm) -> None:
        """Otherwise two nodes would leave it to each other for ever."""
        farm.take_tasks("w1", "w2", "w3")
        upload_ids = farm.enqueue(file_of(), file_of(), file_of())
        for transfer in farm.deliver():
            farm.settle(transfer, "advanced")
        for upload_id, node in zip(upload_ids, ("w1", "w2"), strict=False):
            note_tried(farm, [upload_id], node, what="ftrack")
        assert farm.record.deliver("claim", SIGN, "w1").left_to == "w3"

        note_tried(farm, upload_ids[2:], "w3", what="ftrack")
        assert len(farm.deliver(SIGN)) == 3

    def test_runs_here_if_one_host_alone_sees_the_file(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        [upload_id] = farm.enqueue(file_of(host="node7"))
        [transfer] = farm.deliver(host="node7")
        farm.settle(transfer, "advanced")
        note_tried(farm, [upload_id], "w1", what="records")

        assert farm.deliver(SIGN)

    def test_leaves_a_run_of_parts_to_another_node(self, farm: Farm) -> None:
        farm.take_tasks("w1", "w2")
        parts = PartsRecord(farm.record, Codec([]), Signer([]))
        [upload_id] = farm.enqueue(file_of())
        [transfer] = farm.pass_stages(PUT)
        note_tried(farm, [upload_id], "w1")

        assert parts.start_run(upload_id, transfer.fence, 0, "w1") == LeftTo("w2")
        note_tried(farm, [upload_id], "w1", "w2")
        assert parts.start_run(upload_id, transfer.fence + 1, 0, "w1") is None
