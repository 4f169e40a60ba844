"""Someone who has no key writes in the record of a large file's parts."""

from __future__ import annotations

import pytest

from tests.farm import Farm, wait_until

pytestmark = pytest.mark.slow

LARGE = 70 << 20


def test_parts_are_joined_whatever_somebody_says_of_the_location(sealed: Farm) -> None:
    """The component shows an older file, and the record says that it showed none before."""
    first = sealed.upload(content=LARGE, name="main.mov")
    sealed.wait_located([first.id], 90)
    number = sealed.sandbox.faults.add("ftrack", "status", 503, action="complete_multipart_upload")
    first.path.write_bytes(b"newer" * (LARGE // 5 - 1))
    second = sealed.upload(path=first.path, component_id=first.component_id)
    parts = f"farmhaul:parts:{second.id}"
    wait_until(lambda: sealed.redis.hexists(parts, "located_before"), 90)
    sealed.wait_state([second.id], "retrying")

    assert sealed.sandbox.store.size(first.component_id) == LARGE
    with sealed.frozen():
        sealed.redis.hset(parts, "located_before", 0)
    sealed.sandbox.faults.remove(number)

    sealed.wait_located([second.id], 120)
    assert sealed.sandbox.store.read(first.component_id) == first.path.read_bytes()
