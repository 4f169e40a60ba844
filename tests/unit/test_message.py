"""The messages between stages: a claim, a summary for people, and sealed URLs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.stage.message import summary, to_message, with_fate, with_signed
from tasks.transfer.models import Batch, FileIdentity, SignedPut, Transfer
from tasks.transfer.targets import Target

FTRACK = "https://studio.ftrackapp.com"
URLS = Codec([Fernet.generate_key().decode()])


def transfer_of(name: str, size_bytes: int = 6, *, signed: bool = True) -> Transfer:
    put = SignedPut(f"https://store/{name}?sig=s3cr3t", {"X-Token": "s3cr3t"}) if signed else None
    return Transfer(
        f"id of {name}",
        Target("c"),
        f"/mnt/{name}",
        identity=FileIdentity(size_bytes, 1, 1, 1),
        signed=put,
    )


def test_signed_urls_come_through_a_message_sealed() -> None:
    transfers = (transfer_of("a.exr"), transfer_of("b.exr"))
    unsigned = tuple(replace(transfer, signed=None) for transfer in transfers)

    message = json.loads(json.dumps(to_message("a-claim", transfers, URLS)))

    assert "s3cr3t" not in json.dumps(message)
    assert message["claim"] == "a-claim"
    assert with_signed(Batch("a-claim", unsigned), message, URLS, FTRACK).transfers == transfers


def test_only_files_that_are_signed_and_not_stored_have_a_url() -> None:
    stored = replace(transfer_of("a.exr"), stored=True)

    assert to_message("c", [stored, transfer_of("b.exr", signed=False)], URLS)["signed"] == {}


def test_an_unreadable_url_is_dropped_so_that_it_is_signed_again() -> None:
    transfers = (transfer_of("a.exr"), transfer_of("b.exr"), transfer_of("c.exr"))
    message = to_message("a-claim", transfers, URLS)
    message["signed"][transfers[0].upload_id] = "tampered with"
    message["signed"][transfers[1].upload_id] = URLS.encode({"url": "x", "of_later": 1})
    del message["signed"][transfers[2].upload_id]

    batch = with_signed(Batch("a-claim", transfers), message, URLS, FTRACK)

    assert [transfer.signed for transfer in batch.transfers] == [None, None, None]


def test_a_url_of_another_upload_or_version_is_signed_again() -> None:
    """Whoever can write to Redis can copy it, but not have it used."""
    here, there = transfer_of("a.exr"), transfer_of("b.exr")
    changed = replace(here, identity=FileIdentity(6, 2, 1, 1))
    message = to_message("a-claim", [here, there], URLS)
    swapped = {here.upload_id: message["signed"][there.upload_id]}

    for transfer, signed in ((here, swapped), (changed, message["signed"])):
        batch = Batch("a-claim", (replace(transfer, signed=None),))
        [found] = with_signed(batch, {**message, "signed": signed}, URLS, FTRACK).transfers
        assert found.signed is None


@pytest.mark.parametrize(
    "put",
    [
        SignedPut("http://store.example/key", {}),
        SignedPut("http://127.0.0.1:2375/containers/create", {}),
        SignedPut("https://localhost/", {}),
        SignedPut("https://user:pw@store.example/key", {}),
        SignedPut("https://169.254.169.254/latest", {}),
        SignedPut("https://store.example/key", {"Transfer-Encoding": "chunked"}),
        SignedPut("https://store.example/key", {"Host": "intranet.example"}),
        SignedPut("https://store.example/key", {"X": "a\r\nHost: b"}),
        SignedPut(["https://store.example/key"], {}),  # type: ignore[arg-type]
        SignedPut("https://store.example/key", None),  # type: ignore[arg-type]
    ],
    ids=range(10),
)
def test_a_sealed_put_that_ftrack_may_not_ask_for_is_signed_again(put: SignedPut) -> None:
    """Whoever has an operator's key can seal it."""
    transfer = replace(transfer_of("a.exr"), signed=put)
    message = to_message("a-claim", [transfer], URLS)

    batch = Batch("a-claim", (replace(transfer, signed=None),))
    assert with_signed(batch, message, URLS, FTRACK).transfers[0].signed is None


def test_a_summary_names_the_first_file_the_others_and_the_size() -> None:
    one, other = transfer_of("a.exr", 1_000_000), transfer_of("b.exr", 500_000)

    assert summary([]) == "nothing to do"
    assert summary([one]) == "a.exr, 1.0 MB"
    assert summary([one, other]) == "a.exr +1, 1.5 MB"
    assert summary([replace(one, identity=None)]) == "a.exr, 0 B"
    assert summary([transfer_of("note.txt", 10)]) == "note.txt, 10 B"
    assert summary([transfer_of("plate.mov", 2_500_000_000)]) == "plate.mov, 2.5 GB"


def test_a_summary_has_a_sequences_size_and_the_fate_of_a_batch() -> None:
    sequence = replace(transfer_of("a.%d.exr"), identity=None, total_bytes=168_000_000)

    assert summary([sequence]) == "a.%d.exr, 168.0 MB"
    assert with_fate([sequence], ["retrying", "retrying", "failed"]) == (
        "2 retrying, 1 failed: a.%d.exr, 168.0 MB"
    )
    assert with_fate([], []) == "nothing to do"
