"""The members of a publish, as its last step reads them."""

from __future__ import annotations

import pytest

from tasks.records import keys
from tasks.records.publishes import Publishes
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.models import Transfer
from tasks.transfer.targets import Target
from tests.unit.records import Farm, file_of, member_of, sequence_of


def stored_publish(farm: Farm, *paths: str) -> Transfer:
    """Store files with these paths, and return the last step of their publish."""
    farm.enqueue(sequence_of(*(member_of()._replace(path=path) for path in paths)))
    for file in farm.deliver(claim="files"):
        farm.store(file)
    [publish] = farm.deliver(claim="publish")
    return publish


def test_frame_2_comes_before_frame_10(farm: Farm) -> None:
    publish = stored_publish(farm, *(f"/mnt/main.{frame}.exr" for frame in (11, 2, 10, 9)))

    members = Publishes(farm.record).members_of(publish)

    wanted = [f"/mnt/main.{frame}.exr" for frame in (2, 9, 10, 11)]
    assert [member.path for member in members] == wanted


@pytest.mark.parametrize("lost", ["stored", "file", "request"])
def test_a_publish_with_a_file_that_is_not_stored_is_refused(farm: Farm, lost: str) -> None:
    publish = stored_publish(farm, "/mnt/1.exr", "/mnt/2.exr", "/mnt/3.exr")
    members = Publishes(farm.record).members_of(publish)
    farm.client.hdel(keys.upload_key(members[1].upload_id), lost)

    with pytest.raises(FileRefusedError, match="has 1 of 3 files that are not recorded as stored"):
        Publishes(farm.record).members_of(publish)


def test_a_file_that_a_newer_one_has_just_replaced_does_no_harm(farm: Farm) -> None:
    publish = stored_publish(farm, "/mnt/1.exr", "/mnt/2.exr")
    farm.client.hset(keys.upload_key(publish.upload_id), "total", 1)

    assert len(Publishes(farm.record).members_of(publish)) == 2


def refuses(farm: Farm, publish: Transfer) -> bool:
    try:
        Publishes(farm.record).members_of(publish)
    except FileRefusedError as error:
        assert "has other files than were asked for" in str(error)  # noqa: PT017 one of two ends
        return True
    return False


@pytest.mark.parametrize("lies", [False, True])
def test_a_publish_without_a_file_that_was_asked_for_is_refused(farm: Farm, lies: bool) -> None:
    """Somebody takes a file out, and says that a newer one has taken its place."""
    publish = stored_publish(farm, "/mnt/1.exr", "/mnt/2.exr", "/mnt/3.exr")
    out = Publishes(farm.record).members_of(publish)[1].upload_id
    key = keys.upload_key(publish.upload_id)
    farm.client.srem(keys.files_key(publish.upload_id), out)
    farm.client.hset(key, "total", 2)
    if lies:
        farm.client.sadd(keys.dropped_key(publish.upload_id), out)

    assert refuses(farm, publish)


def test_a_publish_with_a_file_of_another_one_is_refused(farm: Farm) -> None:
    publish = stored_publish(farm, "/mnt/1.exr", "/mnt/2.exr")
    [out, _] = Publishes(farm.record).members_of(publish)
    farm.settle(publish, "located")
    [other] = Publishes(farm.record).members_of(stored_publish(farm, "/mnt/other.exr"))
    files = keys.files_key(publish.upload_id)
    farm.client.srem(files, out.upload_id)
    farm.client.sadd(files, other.upload_id)

    assert refuses(farm, publish)


def test_a_publish_is_shown_without_a_file_that_has_a_newer_one(farm: Farm) -> None:
    publish = stored_publish(farm, "/mnt/1.exr", "/mnt/2.exr")
    [older, _] = Publishes(farm.record).members_of(publish)
    farm.enqueue(file_of(Target(older.component_id)))

    [member] = Publishes(farm.record).members_of(publish)
    assert member.path == "/mnt/2.exr"
