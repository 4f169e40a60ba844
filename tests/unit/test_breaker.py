"""Nodes that fail what others manage: they are set aside, and come back."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tasks.config.sealing import Codec, Signer
from tasks.records import keys
from tasks.records.delivery import Settlement
from tasks.records.nodes import in_order, node_faults, noted_fault
from tasks.records.parts import LeftTo, PartsRecord, Run
from tasks.records.states import STAGES
from tasks.stage.retry_policy import retry_plan
from tasks.transfer import errors
from tasks.transfer.models import FileIdentity, Transfer
from tests.unit.records import Farm, file_of

CHECKSUM, SIGN, PUT, REGISTER = STAGES
MISSING = errors.FileNotReadyError("/mnt/a.exr", "No such file or directory")


def fail_on(farm: Farm, node: str, count: int) -> None:
    """Let new uploads fail on a node, in claims of their own."""
    for _ in range(count):
        farm.enqueue(file_of())
        [transfer] = farm.deliver(claim=f"of {node}", worker=node)
        farm.fail(transfer, MISSING, node)


def succeed_on(farm: Farm, node: str, stage: str = CHECKSUM) -> None:
    """Let all that is pending pass the stage of one claim on a node."""
    for transfer in farm.deliver(stage, claim=f"of {node}", worker=node):
        farm.settle(transfer, "advanced", node=node)


def paused(farm: Farm) -> dict[str, Any]:
    return {name: json.loads(note) for name, note in farm.client.hgetall(keys.PAUSED).items()}


def bring_to(farm: Farm, stage: str, node: str) -> list[Transfer]:
    """Let a node claim what is pending, and bring it to a stage."""
    claim = str(uuid.uuid4())
    transfers = farm.deliver(CHECKSUM, claim, worker=node)
    for before, after in pairwise(STAGES[: STAGES.index(stage) + 1]):
        for transfer in transfers:
            assert farm.settle(transfer, "advanced", node=node) == "active", before
        transfers = farm.deliver(after, claim, worker=node)
    return transfers


def lose_service(farm: Farm, node: str, stage: str, count: int = 3) -> None:
    """Let the service of a stage fail for new uploads on a node, in claims of their own."""
    service = "store" if stage == PUT else "ftrack"
    for _ in range(count):
        farm.enqueue(file_of())
        for transfer in bring_to(farm, stage, node):
            farm.fail(transfer, errors.ServiceUnavailableError(service, "503"), node)


@pytest.fixture(autouse=True)
def two_nodes(farm: Farm) -> None:
    farm.take_tasks("bad", "good")


def test_a_node_that_fails_what_another_manages_is_set_aside(farm: Farm) -> None:
    fail_on(farm, "bad", 3)
    assert paused(farm) == {}, "they may be missing everywhere"

    succeed_on(farm, "good")

    [note] = paused(farm).values()
    assert (note["what"], note["kind"]) == ("files", "FileNotReadyError")
    found = noted_fault("bad", json.dumps(note), Codec([]))
    assert "cannot read files that other nodes read: cannot read /mnt/a.exr" in found.why
    assert found.since == pytest.approx(farm.now(), abs=5)


def test_a_node_is_named_with_what_it_has_met_itself(farm: Farm) -> None:
    farm.take_tasks("old")
    errors_met = {
        "bad": MISSING,
        "old": errors.FileNotReadyError("/mnt/a.exr", "Stale file handle"),
    }
    farm.enqueue(*(file_of() for _ in range(3)))
    for node, error in errors_met.items():
        for transfer in farm.deliver(claim=f"of {node}", worker=node):
            farm.fail(transfer, error, node)
    succeed_on(farm, "good")

    assert {name: note["error"].partition(";")[0] for name, note in paused(farm).items()} == {
        "bad": "on bad: cannot read /mnt/a.exr: No such file or directory",
        "old": "on old: cannot read /mnt/a.exr: Stale file handle",
    }


def test_two_failures_may_be_chance(farm: Farm) -> None:
    fail_on(farm, "bad", 2)

    succeed_on(farm, "good")

    assert paused(farm) == {}


def test_a_success_in_between_shows_that_the_node_can_do_something(farm: Farm) -> None:
    fail_on(farm, "bad", 2)
    farm.enqueue(file_of())
    succeed_on(farm, "bad")
    fail_on(farm, "bad", 1)

    succeed_on(farm, "good")

    assert paused(farm) == {}


@pytest.mark.parametrize(("calls", "set_aside"), [(2, set()), (3, {"bad"})])
def test_a_call_that_fails_for_many_is_one_sign(
    farm: Farm, calls: int, set_aside: set[str]
) -> None:
    """A poison may have spoiled it, of which a proxy of the node tells nothing."""
    error = errors.InterceptedError("ftrack", "403 Forbidden, not JSON")
    for _ in range(calls):
        farm.enqueue(*(file_of() for _ in range(4)))
        transfers = bring_to(farm, SIGN, "bad")
        ids = [transfer.upload_id for transfer in transfers]
        for transfer in transfers:
            settlement = Settlement(transfer, "retrying", {}, retry_plan(error, ids, "bad"))
            farm.record.settle([settlement], node="bad")

    for transfer in bring_to(farm, SIGN, "good"):
        farm.settle(transfer, "advanced", node="good")

    assert paused(farm).keys() == set_aside


def test_to_pass_an_earlier_stage_shows_nothing_of_a_later_one(farm: Farm) -> None:
    """Nobody may register these, as in a project to which ftrack's user has no rights."""
    refused = errors.RequestRefusedError("c1", "register", "PermissionError: no rights")
    farm.enqueue(*(file_of() for _ in range(3)))
    for node, state in (("good", "pending"), ("bad", "failed")):
        states = {farm.fail(transfer, refused, node) for transfer in bring_to(farm, REGISTER, node)}
        assert (states, paused(farm)) == ({state}, {})


def test_uploads_that_nobody_can_do_set_no_node_aside(farm: Farm) -> None:
    fail_on(farm, "bad", 2)
    for transfer in farm.deliver(claim="of good", worker="good"):
        farm.fail(transfer, MISSING, "good")
    fail_on(farm, "bad", 1)

    succeed_on(farm, "good")

    assert paused(farm) == {}


@pytest.mark.parametrize(("stage", "what"), [(SIGN, "ftrack"), (PUT, "store")])
def test_a_node_whose_service_answers_others_is_set_aside(
    farm: Farm, stage: str, what: str
) -> None:
    lose_service(farm, "bad", stage)
    assert paused(farm) == {}, "the service may be down"
    farm.make_due()
    farm.client.delete(keys.gate_key(what))  # its delay has passed

    for transfer in bring_to(farm, stage, "good"):
        farm.settle(transfer, "advanced", node="good")

    [(name, note)] = paused(farm).items()
    assert (name, note["what"]) == ("bad", what)
    assert noted_fault("bad", json.dumps(note), Codec([])).why.endswith(f"{what}: 503")


def test_what_a_service_failed_is_left_to_another_node_first(farm: Farm) -> None:
    lose_service(farm, "bad", SIGN, count=1)
    farm.make_due()

    assert bring_to(farm, SIGN, "bad") == []
    assert bring_to(farm, SIGN, "good") != []


def test_a_node_that_gets_other_answers_has_met_poisons(farm: Farm) -> None:
    for _ in range(3):
        farm.enqueue(file_of())
        [transfer] = bring_to(farm, SIGN, "bad")
        plan = retry_plan(errors.ServiceUnavailableError("ftrack", "503"), node="bad")
        settlement = Settlement(transfer, "retrying", {}, plan)
        farm.record.settle([settlement], passed=1, node="bad")
    farm.make_due()

    for transfer in bring_to(farm, SIGN, "good"):
        farm.settle(transfer, "advanced", node="good")

    assert paused(farm) == {}


def test_what_looks_like_an_outage_is_left_to_other_nodes_too(farm: Farm) -> None:
    """Two nodes may have the same proxy, and ftrack be up."""
    farm.take_tasks("worse")
    lose_service(farm, "bad", SIGN, count=2)
    [upload_id] = farm.enqueue(file_of())
    [transfer] = bring_to(farm, SIGN, "worse")
    farm.fail(transfer, errors.ServiceUnavailableError("ftrack", "503"), "worse")
    assert farm.client.hexists(keys.gate_key("ftrack"), "until")

    assert json.loads(farm.field(upload_id, "tried")) == {"worse": "ftrack"}


def test_what_fails_alone_during_an_outage_is_no_sign(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    [transfer] = bring_to(farm, SIGN, "bad")
    now = farm.now()
    failed = json.dumps([str(STAGES.index(SIGN) + 1), 0, 0, now - 9])
    farm.client.hset(keys.upload_key(upload_id), "failed", failed)
    farm.client.hset("farmhaul:answers:bad", str(STAGES.index(SIGN) + 1), now)
    farm.client.hset("farmhaul:answers", f"good:{STAGES.index(SIGN) + 1}", 9)
    farm.client.hset(keys.gate_key("ftrack"), mapping={"since": now, "until": now + 60})
    farm.fail(transfer, errors.ServiceUnavailableError("ftrack", "503"), "bad")

    assert farm.client.scard("farmhaul:failing:ftrack:bad") == 0


def test_an_outage_sets_no_node_aside(farm: Farm) -> None:
    lose_service(farm, "bad", SIGN, count=3)
    lose_service(farm, "good", SIGN, count=1)
    assert farm.client.hget(keys.gate_key("ftrack"), "until")
    farm.make_due()
    farm.client.delete(keys.gate_key("ftrack"))  # ftrack answers again

    for transfer in bring_to(farm, SIGN, "good"):
        farm.settle(transfer, "advanced", node="good")

    assert paused(farm) == {}


class TestANodeWhoseProcessesDie:
    """What died at work has settled nothing, and its message comes again."""

    @pytest.fixture(autouse=True)
    def runs(self, farm: Farm) -> None:
        farm.client.zadd(keys.ALIVE, {"1.0 bad": farm.now(), "1.0 good": farm.now()})

    def die(self, farm: Farm, stage: str = CHECKSUM, processes: int = 1) -> None:
        """Let processes of the bad node die at once; then the good one does their work."""
        claims = []
        for _ in range(processes):
            farm.enqueue(file_of(), file_of())
            [first, _] = bring_to(farm, stage, "bad")
            claims.append(farm.field(first.upload_id, "claim"))
        for claim in claims:
            delivery = farm.record.deliver(claim, stage, "bad")
            assert (delivery.left_to, delivery.transfers) == ("good", [])
        done = [one for claim in claims for one in farm.deliver(stage, claim, worker="good")]
        assert len(done) == 2 * processes
        for transfer in done:
            farm.settle(transfer, "advanced", node="good")
        for key in farm.client.keys(f"{keys.FAILING}*"):
            farm.client.expire(key, 3590)  # ten seconds later

    @pytest.mark.parametrize("stage", STAGES[:3])
    def test_is_set_aside_and_named_for_what_another_manages(self, farm: Farm, stage: str) -> None:
        for _ in range(2):
            self.die(farm, stage)
        assert paused(farm) == {}

        self.die(farm, stage)

        [note] = paused(farm).values()
        assert (note["what"], note["kind"]) == (stage, "WorkerKilled")
        [fault] = node_faults(farm.client, Codec([]))
        assert (fault.name, fault.extent) == ("bad", "all")
        assert (
            f"where other nodes do not: the worker process died or froze in {stage}; look"
            in fault.why
        )

    def test_takes_nothing_back_by_a_late_message(self, farm: Farm) -> None:
        farm.enqueue(file_of())
        [transfer] = bring_to(farm, PUT, "bad")
        claim = farm.field(transfer.upload_id, "claim")
        assert farm.record.deliver(claim, PUT, "bad").left_to == "good"
        [running] = farm.deliver(PUT, claim, worker="good")

        assert farm.deliver(CHECKSUM, claim, worker="bad") == []

        assert farm.settle(running, "advanced", node="good") == "active"

    def test_has_one_sign_against_it_if_it_was_shut_off_once(self, farm: Farm) -> None:
        self.die(farm, PUT, processes=8)
        self.die(farm, PUT, processes=8)

        assert node_faults(farm.client, Codec([])) == []

    def test_is_named_if_it_succeeds_in_between(self, farm: Farm) -> None:
        for stage in (PUT, CHECKSUM, PUT):
            assert node_faults(farm.client, Codec([])) == []
            self.die(farm, stage, processes=2)
            farm.enqueue(file_of())
            for transfer in bring_to(farm, PUT, "bad"):
                farm.settle(transfer, "advanced", node="bad")

        [fault] = node_faults(farm.client, Codec([]))
        assert (fault.name, fault.extent, fault.count) == ("bad", "some", 3)
        assert paused(farm) == {}

    def test_has_none_against_it_if_the_upload_kills_all_of_them(self, farm: Farm) -> None:
        for _ in range(4):
            [upload_id] = farm.enqueue(file_of())
            bring_to(farm, PUT, "bad")
            claim = farm.field(upload_id, "claim")
            for node in ("good", "bad", "good", "bad"):
                assert farm.deliver(PUT, claim, worker=node)
            assert farm.deliver(PUT, claim, worker="good") == []
            assert "killed its worker 5 times" in farm.field(upload_id, "error")

        assert node_faults(farm.client, Codec([])) == []
        assert farm.client.keys(f"{keys.FAILING}*") == []

    def test_leaves_its_runs_of_a_large_file_to_another(self, farm: Farm) -> None:
        parts = PartsRecord(farm.record, Codec([]), Signer([]))
        for number in range(3):
            farm.enqueue(file_of())
            [transfer] = bring_to(farm, PUT, "bad")
            file = replace(transfer, identity=FileIdentity(150 << 20, 1, 2, 3))
            name = keys.upload_key(transfer.upload_id)
            farm.client.hset(name, "file", farm.record.form.file_field(file))
            took = transfer.upload_id, transfer.fence, 0
            assert isinstance(parts.start_run(*took, "bad"), Run)
            assert parts.start_run(*took, "bad") == LeftTo("good")
            assert isinstance(parts.start_run(*took, "good"), Run)
            assert len(paused(farm)) == 0, number
            farm.settle(transfer, "advanced", node="good")
            farm.client.expire(f"{keys.FAILING}{PUT}:bad", 3590)  # ten seconds later

        assert paused(farm).keys() == {"bad"}


class TestANodeThatLacksSomeFiles:
    """It manages others in between, so it goes on; but it is named."""

    def leave(self, farm: Farm, count: int) -> None:
        for _ in range(count):
            fail_on(farm, "bad", 1)
            farm.enqueue(file_of())
            for node in ("bad", "good"):
                assert len(bring_to(farm, SIGN, node)) == 1

    @pytest.fixture(autouse=True)
    def runs(self, farm: Farm) -> None:
        farm.client.zadd(keys.ALIVE, {"1.0 bad": farm.now(), "1.0 good": farm.now()})

    def test_is_named_with_the_reason(self, farm: Farm) -> None:
        self.leave(farm, 3)

        [fault] = node_faults(farm.client, Codec([]))
        assert (fault.name, fault.extent, fault.count) == ("bad", "some", 3)
        assert "cannot read files that other nodes read: cannot read /mnt/a.exr" in fault.why
        assert paused(farm) == {}

    def test_has_its_uploads_counted_once_and_keeps_the_reason(self, farm: Farm) -> None:
        self.leave(farm, 3)
        for _ in range(3):
            fail_on(farm, "bad", 1)
            for transfer in bring_to(farm, REGISTER, "good"):  # the file is read, and sent
                farm.settle(transfer, "located", node="good")
            farm.enqueue(file_of())
            succeed_on(farm, "bad")

        [fault] = node_faults(farm.client, Codec([]))
        assert fault.count == 6
        assert "cannot read /mnt/a.exr" in fault.why

    def test_is_not_named_for_what_may_be_chance(self, farm: Farm) -> None:
        self.leave(farm, 2)

        assert node_faults(farm.client, Codec([])) == []

    def test_is_not_named_for_what_was_long_ago(self, farm: Farm) -> None:
        self.leave(farm, 3)
        note = json.loads(farm.client.hget(keys.LEFT_TO_OTHERS, "bad"))
        old = json.dumps(note | {"last": farm.now() - 901})
        farm.client.hset(keys.LEFT_TO_OTHERS, "bad", old)

        assert node_faults(farm.client, Codec([])) == []
        self.leave(farm, 1)
        assert node_faults(farm.client, Codec([])) == []

    def test_is_named_once_when_it_is_set_aside(self, farm: Farm) -> None:
        self.leave(farm, 3)
        fail_on(farm, "bad", 3)
        succeed_on(farm, "good")

        assert [fault.extent for fault in node_faults(farm.client, Codec([]))] == ["all"]


def test_a_node_that_alone_waits_for_a_service_is_named(farm: Farm) -> None:
    farm.client.zadd(keys.ALIVE, {"1.0 bad": farm.now()})
    lose_service(farm, "bad", PUT)

    [fault] = node_faults(farm.client, Codec([]))
    assert (fault.name, fault.extent, fault.what) == ("bad", "held", "store")
    assert fault.until > farm.now()
    farm.client.hset(keys.gate_key("store"), "until:bad", farm.now() - 1)
    assert node_faults(farm.client, Codec([])) == []


def test_a_node_of_another_version_than_most_is_named(farm: Farm) -> None:
    def named(*versions: str) -> list[tuple[str, str]]:
        farm.client.delete(keys.ALIVE)
        rows = {f"{version} w{number}": farm.now() for number, version in enumerate(versions)}
        farm.client.zadd(keys.ALIVE, rows)
        faults = node_faults(farm.client, Codec([]))
        assert {fault.extent for fault in faults} <= {"none"}
        return [(fault.name, fault.why.rpartition(": ")[2]) for fault in faults]

    assert named("1.9", "1.9") == []
    assert named("1.9", "1.10", "1.9") == [("w1", "1.10 and not 1.9")]
    assert named("1.9", "1.10") == [("w0", "1.9 and not 1.10")]
    assert named("1.0", "1.0rc1") == [("w1", "1.0rc1 and not 1.0")]
    assert named("1.0", "junk") == [("w1", "junk and not 1.0")]


def test_versions_are_in_the_order_of_python() -> None:
    versions = ["junk", "1.0.dev3", "1.0a2", "1.0rc1", "1.0", "1.0.post1", "1.9", "1.10"]

    assert [*map(in_order, versions)] == sorted(map(in_order, reversed(versions)))


class TestANodeThatIsSetAside:
    @pytest.fixture(autouse=True)
    def is_aside(self, farm: Farm, two_nodes: None) -> None:
        fail_on(farm, "bad", 3)
        succeed_on(farm, "good")
        assert set(paused(farm)) == {"bad"}

    def test_tries_one_upload_at_a_time(self, farm: Farm) -> None:
        farm.enqueue(file_of(), file_of())

        assert len(farm.deliver(claim="probe", worker="bad")) == 1

    def test_goes_on_after_a_success(self, farm: Farm) -> None:
        farm.enqueue(file_of())

        succeed_on(farm, "bad")

        assert paused(farm) == {}

    def test_stays_aside_after_another_failure(self, farm: Farm) -> None:
        fail_on(farm, "bad", 1)

        assert set(paused(farm)) == {"bad"}

    def test_forgets_what_it_failed_when_a_probe_succeeds(self, farm: Farm) -> None:
        farm.record.scripts.run("let_go_on", node="bad")

        assert not farm.client.keys(f"{keys.FAILING}*bad")

    def test_goes_on_without_others(self, farm: Farm) -> None:
        farm.client.zrem(keys.WORKERS, "good")

        assert not farm.record.scripts.run("check_node", node="bad", fault=None)
        assert paused(farm) == {}


def test_a_node_that_knows_its_fault_claims_nothing(farm: Farm) -> None:
    check = farm.record.scripts.run
    fault = {"what": "records", "error": "another key"}
    farm.enqueue(file_of())

    assert check("check_node", node="bad", fault=fault)
    assert farm.deliver(claim="a", worker="bad") == []
    assert not check("check_node", node="bad")
    assert farm.deliver(claim="b", worker="bad")


def test_all_nodes_are_never_set_aside_at_once(farm: Farm) -> None:
    fault = {"what": "ftrack", "error": "no such key"}
    for node in ("bad", "good"):
        farm.record.scripts.run("check_node", node=node, fault=fault)

    assert set(paused(farm)) == {"bad"}


@pytest.mark.parametrize("note", ["", "no JSON", "[]", "null", '{"since": "x"}', '{"error": 7}'])
def test_a_note_that_anybody_wrote_is_shown_somehow(note: str) -> None:
    assert noted_fault("w1", note, Codec([])).why


@pytest.mark.parametrize("note", ["", "x", "[]", "null", '{"since": "x"}', b"\xff"])
def test_a_note_that_anybody_wrote_fails_no_upload(farm: Farm, note: str | bytes) -> None:
    def poison() -> None:
        for key in (keys.PAUSED, keys.LEFT_TO_OTHERS):
            farm.client.hset(key, mapping={"bad": note, "good": note})

    farm.enqueue(file_of(), file_of())
    poison()
    transfers = farm.deliver(claim="a", worker="bad")
    assert len(transfers) == 2
    poison()
    for transfer in transfers:
        assert farm.settle(transfer, "advanced", node="bad") == "active"

    fail_on(farm, "bad", 3)
    poison()
    succeed_on(farm, "good")  # it notes what the other has left
    for script in ("check_node", "let_go_on"):
        poison()
        assert not farm.record.scripts.run(script, node="bad")
        assert not farm.client.hexists(keys.PAUSED, "bad")


def test_an_answer_that_anybody_counted_fails_no_upload(farm: Farm) -> None:
    farm.enqueue(file_of())
    for stage in range(1, 5):
        farm.client.hset(keys.ANSWERS, mapping={f"good:{stage}": "x", f"bad:{stage}": "x"})
    farm.client.set(f"{keys.ANSWERS}:good", "x")

    [transfer] = farm.deliver(claim="a", worker="good")

    settlement = Settlement(transfer, "advanced", {})
    states = farm.record.settle([settlement], passed=1, node="good")
    assert [*states.values()] == ["active"]
