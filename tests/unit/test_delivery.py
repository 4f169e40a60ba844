"""What decides over a batch and a record without Redis: bounds, scores, fingerprints."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

import pytest
import redis
from cryptography.fernet import Fernet

from tasks.config.sealing import Codec, Signer
from tasks.intake.request import UploadRequest
from tasks.records import states
from tasks.records.delivery import grown_out, within_bounds
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.transfer.models import LARGE_BYTES, FileIdentity, Transfer
from tasks.transfer.targets import Target

BATCH_BYTES = 1000


@pytest.fixture
def record() -> Record:
    return Record(Scripts(redis.Redis(), Codec([Fernet.generate_key().decode()])))


def transfers_of(count: int) -> list[Transfer]:
    return [
        Transfer(f"upload {number}", Target(str(uuid.uuid4())), "/mnt/f.exr")
        for number in range(count)
    ]


def ids_with(transfers: list[Transfer], sizes: Sequence[int]) -> dict[str, int]:
    return dict(zip([transfer.upload_id for transfer in transfers], sizes, strict=True))


@pytest.mark.parametrize(
    ("sizes", "fits"),
    [
        ([400, 599], 2),
        ([400, 600], 1),
        ([1000, 1], 1),
        ([1000, 0], 1),
        ([999, 0, 0], 3),
        ([5000, 1], 1),
        ([1, LARGE_BYTES + 1, 1], 2),
    ],
)
def test_a_batch_takes_unsized_files_within_its_bytes(sizes: list[int], fits: int) -> None:
    transfers = transfers_of(len(sizes))

    fitting, others = within_bounds(transfers, ids_with(transfers, sizes), BATCH_BYTES)

    assert len(fitting) == fits
    assert len(fitting) + len(others) == len(sizes)
    left = {one.transfer.upload_id: dict(one.fields) for one in others}
    for transfer, size in zip(transfers, sizes, strict=True):
        if transfer not in fitting:
            assert left[transfer.upload_id] == ({"size": size} if size else {})


def test_a_file_of_exactly_the_large_size_shares_its_batch() -> None:
    transfers = transfers_of(2)
    for size, fits in ((LARGE_BYTES, 2), (LARGE_BYTES + 1, 1)):
        fitting, _ = within_bounds(transfers, ids_with(transfers, [size, 1]), 2 * LARGE_BYTES)
        assert len(fitting) == fits


def test_only_a_file_of_unknown_size_takes_room() -> None:
    """The script has added up the other sizes already; a missing file has none."""
    first, *sized, last = transfers_of(5)
    sizes = ids_with([first, last], [BATCH_BYTES - 1, 1])

    fitting, others = within_bounds([first, *sized, last], sizes, BATCH_BYTES)

    assert fitting == [first, *sized]
    assert [(one.transfer, one.fields) for one in others] == [(last, {"size": 1})]


@pytest.mark.parametrize(
    ("sizes", "leave"),
    [
        ([400, 600], []),
        ([400, 601], [601]),
        ([601, 400], [601]),
        ([2000, 0, 3000], [2000, 3000]),
        ([2000], []),
        ([1, LARGE_BYTES + 1, 2], [LARGE_BYTES + 1]),
        ([LARGE_BYTES + 2, LARGE_BYTES + 1], [LARGE_BYTES + 2]),
    ],
)
def test_what_has_grown_beyond_the_bounds_leaves_the_others(
    sizes: list[int], leave: list[int]
) -> None:
    files = [
        replace(
            Transfer(f"{n}", Target(str(uuid.uuid4())), "/mnt/f.exr"),
            identity=FileIdentity(size, 1, 2, 3),
        )
        for n, size in enumerate(sizes)
    ]

    assert sorted(file.size_bytes for file in grown_out(files, BATCH_BYTES)) == leave


@pytest.mark.parametrize("priority", [0, 1, 2])
@pytest.mark.parametrize("is_preview", [True, False])
def test_a_score_keeps_priority_preview_and_time(priority: int, is_preview: bool) -> None:
    score = states.score(priority, is_preview=is_preview) + 1_795_000_123_456

    assert states.priority_of(score) == priority
    assert states.is_preview(score) is is_preview
    assert states.enqueued_at(score) == 1_795_000_123.456


def test_a_score_of_an_earlier_version_still_counts() -> None:
    score = 26_795_000_123_456

    assert states.priority_of(score) == 2
    assert not states.is_preview(score)
    assert states.enqueued_at(score) == 1_795_000_123.456


def test_a_score_is_exact_as_a_double() -> None:
    largest = states.score(2, is_preview=False) + states.PREVIEW_STEP - 1

    assert float(largest) != float(largest - 1)


def test_a_file_counts_as_stored_only_under_its_fingerprint(record: Record) -> None:
    request = UploadRequest("/mnt/a.exr", Target(str(uuid.uuid4())), 6, 1)
    sealed = record.scripts.codec.encode(request.to_record())
    known = replace(
        record.form.read(request.upload_id, sealed),
        identity=FileIdentity(6, 1, 2, 3),
        checksum="x",
    )
    file, stored = record.form.file_field(known), known.content_fingerprint

    def is_stored(fingerprint: str) -> bool:
        return record.form.read(request.upload_id, sealed, file, (fingerprint, "")).stored

    assert is_stored(stored)
    for other in ("", "a", f"{stored}0"):
        assert not is_stored(other)


def test_a_file_counts_as_stored_only_if_a_worker_has_signed_that(record: Record) -> None:
    record = Record(record.scripts, signer=Signer([b"a key of the farm"]))
    ours, other = (
        UploadRequest(f"/mnt/{name}.exr", Target(str(uuid.uuid4())), 6, 1) for name in "ab"
    )

    def known(request: UploadRequest, size_bytes: int = 6) -> tuple[str, Transfer]:
        sealed = record.scripts.codec.encode(request.to_record())
        identity = FileIdentity(size_bytes, 1, 2, 3)
        transfer = record.form.read(request.upload_id, sealed)
        return sealed, replace(transfer, identity=identity, checksum="x", stored=True)

    def is_stored(seal: str) -> bool:
        sealed, transfer = known(ours)
        file = record.form.file_field(transfer)
        return record.form.read(ours.upload_id, sealed, file, ("x", seal)).stored

    assert is_stored(record.form.stored_fields(known(ours)[1])["stored_seal"])
    for _, forged in (known(other), known(ours, 7)):
        assert not is_stored(record.form.stored_fields(forged)["stored_seal"])
    for seal in ("", "0" * 32, Signer([b"another key"]).sign("x")):
        assert not is_stored(seal)


def test_only_a_worker_can_say_that_ftrack_has_not_shown_a_file_yet(record: Record) -> None:
    record = Record(record.scripts, signer=Signer([b"a key of the farm"]))
    request = UploadRequest("/mnt/a.exr", Target(str(uuid.uuid4())), 6, 1)
    sealed = record.scripts.codec.encode(request.to_record())
    known = replace(
        record.form.read(request.upload_id, sealed),
        identity=FileIdentity(6, 1, 2, 3),
        checksum="x",
        stored=True,
    )
    file = record.form.file_field(known)

    for is_shown in (False, True):
        fields = record.form.stored_fields(replace(known, was_located=is_shown))
        stored = fields["stored"], fields["stored_seal"]
        read = record.form.read(request.upload_id, sealed, file, stored, was_located=False)
        assert (read.stored, read.was_located) == (True, is_shown)
        # What reads it may settle it: nothing is forgotten.
        assert record.form.stored_fields(read) == fields


def test_the_fields_of_a_settlement_hide_the_error_alone(record: Record) -> None:
    plain: dict[str, str | int] = {"error_kind": "Gone", "size": 6, "delay_s": 2}
    sealed = record._sealed({"error": "/mnt/secret.exr is gone", **plain})

    error = sealed.pop("error")
    assert "secret" not in error
    assert record.scripts.codec.unseal_text(error) == "/mnt/secret.exr is gone"
    assert sealed == plain
