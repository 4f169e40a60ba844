"""The values that travel from stage to stage, and what is kept out of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.transfer.models import (
    LARGE_BYTES,
    MIB,
    Batch,
    FileIdentity,
    Transfer,
    part_count,
    part_size_bytes,
)
from tasks.transfer.targets import Target

IDENTITY = FileIdentity(6, 1_000, 7, 1)


def transfer_of(path: str = "/mnt/prod/main.0101.exr") -> Transfer:
    return Transfer("an-upload", Target("a-component"), path)


@pytest.mark.parametrize(
    ("path", "name", "suffix"),
    [
        ("/a/main.0101.exr", "main.0101.exr", ".exr"),
        ("/a/no_suffix", "no_suffix", ""),
        ("/a/.hidden", ".hidden", ""),
        ("/a/ünï 🎬.tar.gz", "ünï 🎬.tar.gz", ".tar.gz"),
    ],
)
def test_a_transfer_knows_the_files_name_and_type(path: str, name: str, suffix: str) -> None:
    transfer = transfer_of(path)

    assert (transfer.file_name, transfer.file_type) == (name, suffix)


def test_the_size_of_a_file_that_was_not_checked_is_not_known() -> None:
    with pytest.raises(ValueError, match="an-upload has not been checked yet"):
        _ = transfer_of().size_bytes
    assert replace(transfer_of(), identity=IDENTITY).size_bytes == 6


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (IDENTITY, ""),
        (replace(IDENTITY, size_bytes=9), "size 6 → 9"),
        (replace(IDENTITY, mtime_ns=5, inode=8), "mtime 1000 → 5, inode 7 → 8"),
        (replace(IDENTITY, device=2), ""),
        (replace(IDENTITY, device=2, inode=8), ""),
        (replace(IDENTITY, device=2, inode=8, mtime_ns=5), "mtime 1000 → 5"),
        (replace(IDENTITY, mtime_ns=1033), "mtime 1000 → 1033"),
        (replace(IDENTITY, device=2, mtime_ns=1033), ""),
        (replace(IDENTITY, device=2, mtime_ns=2033), "mtime 1000 → 2033"),
    ],
)
def test_a_difference_is_named_in_words(other: FileIdentity, said: str) -> None:
    assert IDENTITY.difference(other) == said


@pytest.mark.parametrize("step_ns", [100, 10**3, 10**6, 10**9, 2 * 10**9], ids=str)
def test_the_mounts_of_two_nodes_may_count_time_in_other_steps(step_ns: int) -> None:
    exact = replace(IDENTITY, mtime_ns=1_795_718_599_586_078_333)
    coarse_ns = exact.mtime_ns // step_ns * step_ns
    coarse = replace(exact, device=2, mtime_ns=coarse_ns)
    assert not exact.difference(coarse)
    assert not coarse.difference(exact)
    assert coarse.difference(replace(exact, mtime_ns=coarse_ns - 1))
    assert coarse.difference(replace(exact, mtime_ns=coarse_ns + step_ns))


def test_a_file_is_large_only_above_the_limit() -> None:
    assert not transfer_of().is_large
    assert not replace(transfer_of(), identity=replace(IDENTITY, size_bytes=LARGE_BYTES)).is_large
    assert replace(transfer_of(), identity=replace(IDENTITY, size_bytes=LARGE_BYTES + 1)).is_large


def test_a_fingerprint_is_the_checksum_or_else_the_identity() -> None:
    checked = replace(transfer_of(), identity=IDENTITY)

    assert replace(checked, checksum="md5").content_fingerprint == "md5"
    assert checked.content_fingerprint == "6:1000"


@pytest.mark.parametrize(
    ("size_mib", "part_mib"),
    [
        (65, 8),
        (4096, 8),
        (4097, 16),
        (16384, 16),
        (16385, 32),
        (65536, 32),
        (65537, 64),
        (262144, 64),
        (262145, 128),
    ],
)
def test_parts_stay_small_because_a_kill_costs_one(size_mib: int, part_mib: int) -> None:
    assert part_size_bytes(size_mib * MIB) == part_mib * MIB


def test_a_batch_leaves_out_what_is_stored() -> None:
    here, there = transfer_of("/a"), replace(transfer_of("/b"), stored=True)

    assert Batch("a-claim", (here, there)).not_stored == (here,)


@pytest.mark.parametrize(
    ("size_bytes", "count"), [(64 * MIB + 1, 9), (72 * MIB, 9), (72 * MIB + 1, 10), (128 * MIB, 16)]
)
def test_the_last_part_may_be_a_single_byte(size_bytes: int, count: int) -> None:
    assert part_count(size_bytes) == count


def test_a_file_is_large_above_64_mib() -> None:
    # Nodes of two releases must agree on it, as only some files have a checksum.
    assert LARGE_BYTES == 67_108_864
