"""Each number of the retry policies, as the record in Redis applies it."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from tasks.config.sealing import Codec
from tasks.intake.request import UploadRequest
from tasks.records.commands import Commands
from tasks.records.delivery import Settlement
from tasks.records.keys import gate_key, upload_key
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.stage import retry_policy
from tasks.stage.redaction import internal_error
from tasks.stage.retry_policy import POLICIES, full_jitter, own_fault, retry_plan
from tasks.transfer import errors
from tasks.transfer.targets import Target
from tests.helpers.error_examples import EXAMPLES
from tests.sandbox import RedisServer

DAY_S = 24 * 3600
#: The clock of Redis runs while a test does.
MARGIN_S = 60

#: The try that is the last one, and None where only the patience ends an upload.
LAST_TRY = {
    errors.ServiceUnavailableError: None,
    errors.OwnSettingsError: None,
    errors.InterceptedError: 12,
    errors.CredentialsRefusedError: None,
    errors.FileNotReadyError: 12,
    errors.FileHungError: None,
    errors.FileShrunkError: 12,
    errors.FileChangedError: 5,
    errors.UrlRefusedError: None,
    errors.DigestMismatchError: 3,
    errors.MultipartGoneError: 3,
    errors.JoinUnderWayError: None,
    errors.PartsMissingError: 10,
    errors.LeaseLostError: None,
    errors.UnexpectedAnswerError: 5,
}
PATIENCE_S = dict.fromkeys(LAST_TRY, DAY_S) | {
    errors.OwnSettingsError: 14 * DAY_S,
    errors.CredentialsRefusedError: 14 * DAY_S,
}
#: The longest delays before each retry, and the shortest one before any.
DELAYS_S: dict[type[errors.RetryableError], tuple[list[float], float]] = {
    errors.ServiceUnavailableError: ([2, 4, 8, 16, 32, 64, 128, 256, 300, 300], 0),
    errors.OwnSettingsError: ([10, 20, 40, 60, 60], 5),
    errors.InterceptedError: ([2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300], 0),
    errors.CredentialsRefusedError: ([60, 60, 60], 60),
    errors.FileNotReadyError: ([2, 4, 8, 16, 32, 64, 90, 90, 90, 90, 90], 1),
    errors.FileHungError: ([60, 120, 240, 480, 900, 900], 30),
    errors.FileShrunkError: ([2, 4, 8, 16, 32, 64, 90, 90, 90, 90, 90], 1),
    errors.FileChangedError: ([4, 8, 16, 32], 1),
    errors.UrlRefusedError: ([1, 2, 4, 8, 16, 32, 64, 128, 256, 300], 0),
    errors.DigestMismatchError: ([1, 2], 0),
    errors.MultipartGoneError: ([1, 2], 0),
    errors.JoinUnderWayError: ([5, 10, 20, 30, 30], 2),
    errors.PartsMissingError: ([1, 2, 4, 8, 16, 30, 30, 30, 30], 0),
    errors.LeaseLostError: ([1, 2, 4, 8, 16, 30, 30], 0),
    errors.UnexpectedAnswerError: ([2, 4, 8, 16], 0),
}

Kind = type[errors.RetryableError]
every_kind = pytest.mark.parametrize("kind", POLICIES, ids=lambda kind: kind.__name__)


def example(kind: Kind, retry_after_s: float | None = None) -> errors.RetryableError:
    if kind is errors.ServiceUnavailableError:
        return errors.ServiceUnavailableError("store", "503 SlowDown", retry_after_s)
    error = kind(*EXAMPLES[kind][0])
    assert isinstance(error, errors.RetryableError)
    return error


@dataclass
class Upload:
    """One upload in a real record, which a test lets fail again and again."""

    record: Record
    client: redis.Redis
    upload_id: str

    def fail(self, error: errors.RetryableError, **overrides: Any) -> str:
        """Claim the upload, let its stage end with an error, and return its new state."""
        for service in ("store", "credentials"):
            self.client.delete(gate_key(service))
        claim_id = uuid.uuid4().hex
        [transfer] = self.record.deliver(claim_id, "compute_checksum", "w1@node7").transfers
        wait = retry_plan(error) | overrides
        return self.record.settle([Settlement(transfer, "retrying", {}, wait)])[self.upload_id]

    def end_wait(self) -> None:
        """Make the upload pending, as after its delay."""
        self.client.zadd("farmhaul:retrying", {self.upload_id: 0})
        self.record.apply_due()

    def age_first_error(self, seconds: float) -> None:
        now_s, _ = self.client.time()
        self.client.hset(upload_key(self.upload_id), "since", now_s - seconds)

    def delay_s(self) -> float:
        due, updated = self.client.hmget(upload_key(self.upload_id), "due", "updated")
        return float(due or 0) - float(updated or 0)


@pytest.fixture
def upload(redis_server: RedisServer) -> Iterator[Upload]:
    with redis.Redis.from_url(redis_server.url) as client:
        scripts = Scripts(client, Codec([]), lease_s=10)
        record = Record(scripts)
        request = UploadRequest("/mnt/1.exr", Target(str(uuid.uuid4())), 6, 1_000)
        Commands(scripts).enqueue([request])
        yield Upload(record, client, request.upload_id)


def test_the_tables_here_name_every_error_that_is_retried() -> None:
    assert set(POLICIES) == set(LAST_TRY) == set(PATIENCE_S) == set(DELAYS_S)


@every_kind
def test_an_upload_fails_at_exactly_its_last_try(upload: Upload, kind: Kind) -> None:
    last_try = LAST_TRY[kind]
    states = []
    for _ in range(last_try or 20):
        states.append(upload.fail(example(kind)))
        upload.end_wait()

    assert states == ["retrying"] * (len(states) - 1) + ["failed" if last_try else "retrying"]


@every_kind
def test_an_upload_fails_once_its_patience_is_over(upload: Upload, kind: Kind) -> None:
    upload.age_first_error(PATIENCE_S[kind] - MARGIN_S)
    assert upload.fail(example(kind)) == "retrying"
    upload.end_wait()
    upload.age_first_error(PATIENCE_S[kind] + 1)

    assert upload.fail(example(kind)) == "failed"


@every_kind
def test_the_delay_doubles_up_to_its_cap(upload: Upload, kind: Kind) -> None:
    longest, _ = DELAYS_S[kind]
    found = []
    for _ in longest:
        assert upload.fail(example(kind), jitter=1.0) == "retrying"
        found.append(upload.delay_s())
        upload.end_wait()

    assert found == pytest.approx(longest, abs=0.01)


@every_kind
def test_no_jitter_makes_a_delay_shorter_than_its_minimum(upload: Upload, kind: Kind) -> None:
    upload.fail(example(kind), jitter=0.0)

    assert upload.delay_s() == pytest.approx(DELAYS_S[kind][1], abs=0.01)


@pytest.mark.parametrize(
    ("retry_after_s", "delay_s"), [(None, 0), (7.5, 7.5), (899, 899), (900, 900), (901, 900)]
)
def test_retry_after_is_granted_up_to_a_quarter_of_an_hour(
    upload: Upload, retry_after_s: float | None, delay_s: float
) -> None:
    upload.fail(example(errors.ServiceUnavailableError, retry_after_s), jitter=0.0)

    assert upload.delay_s() == pytest.approx(delay_s, abs=0.01)


def test_two_uploads_that_failed_together_have_other_delays() -> None:
    shares = [retry_plan(example(errors.LeaseLostError))["jitter"] for _ in range(20)]

    assert len(set(shares)) > 1
    assert all(0 <= share <= 1 for share in shares)


@every_kind
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_redis_computes_the_delay_that_full_jitter_computes(
    upload: Upload, kind: Kind, share: float
) -> None:
    for retries in range(2):
        upload.fail(example(kind), jitter=share)
        assert upload.delay_s() == pytest.approx(
            full_jitter(retries, POLICIES[kind], share), abs=0.01
        )
        upload.end_wait()


def test_full_jitter_has_a_cap_however_many_retries_there_were() -> None:
    policy = retry_policy.Policy(math.inf, math.inf, delay_s=2, cap_s=300, at_least_s=1)

    assert [full_jitter(n, policy, 1.0) for n in (0, 1, 7, 8, 10_000)] == [2, 4, 256, 300, 300]
    assert full_jitter(1, policy, 0.5) == 2
    assert full_jitter(0, policy, 0.0) == 1


@pytest.mark.parametrize(
    ("policy", "tries", "longest_s"),
    [
        (retry_policy.DOWNLOAD_TASK, 13, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]),
        (retry_policy.DOWNLOAD_COMMAND_OUTAGE, 9, [1, 2, 4, 8, 16, 30, 30, 30]),
        (retry_policy.DOWNLOAD_COMMAND_OTHER, 3, [1, 2]),
    ],
)
def test_a_download_waits_as_long_as_its_policy_says(
    policy: retry_policy.Policy, tries: int, longest_s: list[float]
) -> None:
    assert policy.max_tries == tries
    assert [full_jitter(n, policy, 1.0) for n in range(tries - 1)] == longest_s


def test_a_download_that_another_process_does_waits_a_day() -> None:
    policy = retry_policy.DOWNLOAD_BUSY

    assert {full_jitter(n, policy, share) for n in range(40) for share in (0.0, 1.0)} == {30}
    assert (policy.max_tries - 1) * 30 == DAY_S


def test_a_url_that_another_node_has_sealed_costs_no_try() -> None:
    not_ours = errors.UrlRefusedError("a component", 0, "no URL")

    assert retry_plan(not_ours)["counter"] == "no URL"
    assert retry_plan(not_ours)["gate"] == ""
    assert retry_plan(example(errors.UrlRefusedError))["gate"] == "store"


@pytest.mark.parametrize(
    ("error", "own"),
    [
        (errors.RequestRefusedError("c1", "register", "PermissionError: not yours"), "ftrack"),
        (errors.RequestRefusedError("c1", "create", "version v1 does not exist"), "ftrack"),
        (errors.TargetRefusedError("component c1", "does not exist in ftrack"), "ftrack"),
        (
            errors.RequestRefusedError("c1", "register", "ValueError: Permission is no name"),
            "",
        ),
        (errors.TargetRefusedError("component c1", "is a sequence in ftrack, not a file"), ""),
        (internal_error("put_parts", MemoryError()), "put_file"),
        (internal_error("resolved", ImportError()), "get_put_metadata"),
    ],
    ids=str,
)
def test_what_another_node_may_do_is_left_to_others(error: errors.UploadError, own: str) -> None:
    assert own_fault(error) == own


def test_bytes_that_changed_on_their_way_may_be_the_nodes_own_fault() -> None:
    assert own_fault(example(errors.DigestMismatchError)) == "store"
