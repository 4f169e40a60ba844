"""How much a process claims, after a batch that was quick or slow to send."""

from __future__ import annotations

from tasks.records.record import CLAIM_BYTES
from tasks.stage.sending import LEAST_CLAIM_BYTES, claim_bytes_after
from tasks.transfer.errors import GivenBackError, StoreRefusedError
from tasks.transfer.models import FileIdentity, Outcomes, Transfer
from tasks.transfer.targets import Target


def sent(*sizes_bytes: int, back: int = 0) -> Outcomes:
    """Return the outcomes of a batch: files of these sizes were sent, and others went back."""
    files = {
        f"file {number}": Transfer(
            f"file {number}",
            Target("a-component"),
            "/mnt/a.exr",
            identity=FileIdentity(size, 1, 1, 1),
        )
        for number, size in enumerate(sizes_bytes)
    }
    return {**files, **{f"other {n}": GivenBackError(f"other {n}") for n in range(back)}}


def test_after_a_slow_batch_a_process_claims_what_it_can_send() -> None:
    assert claim_bytes_after(CLAIM_BYTES, sent(5_000_000, 5_000_000, back=48)) == 20_000_000
    assert claim_bytes_after(20_000_000, sent(1000, back=1)) == LEAST_CLAIM_BYTES
    assert claim_bytes_after(CLAIM_BYTES, sent(CLAIM_BYTES, back=1)) == CLAIM_BYTES


def test_after_quick_batches_it_claims_more_again() -> None:
    assert claim_bytes_after(5_000_000, sent(4_000_000)) == 20_000_000
    assert claim_bytes_after(CLAIM_BYTES, sent(4_000_000)) == CLAIM_BYTES


def test_a_batch_of_which_nothing_was_sent_says_nothing() -> None:
    refused: Outcomes = {"a": StoreRefusedError("a-component", 400, "no", "store")}
    assert claim_bytes_after(5_000_000, refused) == 5_000_000
    assert claim_bytes_after(5_000_000, {}) == 5_000_000
