"""Flower counts uploads by folder or version: what is late comes first."""

from __future__ import annotations

import uuid

import pytest

from tasks.intake.errors import BadInputError
from tasks.intake.request import UploadRequest
from tasks.records import keys
from tasks.transfer.targets import Target
from tests.unit.records import Farm
from workers.web import summary as module
from workers.web import view
from workers.web.access import Records
from workers.web.summary import Summary

VERSIONS = {shot: str(uuid.uuid4()) for shot in ("sh010", "sh020", "sh030")}


def frame(shot: str, number: int) -> UploadRequest:
    target = Target.under_version(VERSIONS[shot], f"plate.{number}")
    return UploadRequest(f"/mnt/my show/{shot}/plate/plate.{number}.exr", target, 700, 1)


@pytest.fixture
def records(farm: Farm) -> Records:
    """Returns a farm on which one shot is complete, one late, and one has just begun."""
    farm.enqueue(*(frame("sh010", number) for number in range(3)))
    for transfer in farm.pass_stages("create_component_location"):
        farm.settle(transfer, "located")
    late = [frame("sh020", number) for number in range(4)]
    farm.enqueue(*late)
    for transfer in farm.pass_stages("create_component_location")[:2]:
        farm.settle(transfer, "located")
    for request in late:
        farm.client.hincrbyfloat(keys.upload_key(request.upload_id), "created", -600)
    cancelled, _ = farm.enqueue(frame("sh030", 1), frame("sh030", 2))
    farm.commands.cancel(cancelled)
    one = Records()
    one.scripts = farm.record.scripts
    return one


def rows(found: Summary) -> list[tuple[str, int, int, bool]]:
    return [(one.key, one.located, one.wanted, bool(one.oldest)) for one in found.groups]


def test_what_is_late_comes_first_and_what_is_complete_last(records: Records) -> None:
    by_version, now = records.summary("", "", "version")
    by_folder, _ = records.summary("plate", "", "folder")

    counted = [("sh020", 2, 4, True), ("sh030", 0, 1, True), ("sh010", 3, 3, False)]
    assert rows(by_version) == [(VERSIONS[shot], *rest) for shot, *rest in counted]
    assert rows(by_folder) == [(f"/mnt/my show/{shot}/plate", *rest) for shot, *rest in counted]
    assert now - by_folder.groups[0].oldest > 599
    assert view.summed_up(by_folder, "folder") == "3 folders, 2 late"


def test_a_group_is_counted_whole_whatever_is_looked_for(records: Records) -> None:
    for text, state in (("sh020", "located"), ('"/mnt/my show/sh020" since:1h', "located")):
        found, _ = records.summary(text, state, "folder")
        # Two of its uploads are looked for, and the other two are not there yet.
        assert [(one.located, one.wanted) for one in found.groups] == [(2, 4)], text


@pytest.mark.parametrize("name", ["sh[1]", "a*b", "a?b", 'a"b', 'a "b" c', "a\tb", "a\u00a0b"])
def test_a_folder_of_any_name_is_counted_and_its_link_finds_it(farm: Farm, name: str) -> None:
    folder = f"/mnt/show/{name}"
    other = UploadRequest("/mnt/show/other/x.1.exr", frame("sh010", 1).target, 700, 1)
    farm.enqueue(frame("sh020", 2)._replace(path=f"{folder}/x.2.exr"), other)
    records = Records()
    records.scripts = farm.record.scripts

    found, _ = records.summary(view.quoted(folder), "", "folder")

    assert [(one.key, one.wanted) for one in found.groups] == [(folder, 1)]


def test_a_summary_says_what_it_does_not_cover(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_READ", 6)
    monkeypatch.setattr(module, "MOST_SHOWN", 1)

    found, _ = records.summary("", "", "folder")

    said = view.summed_up(found, "folder")
    assert said == "3 folders, 1 late, of the first 6 of 9 uploads; 2 are not shown"
    with pytest.raises(BadInputError):
        records.summary("since:noon", "", "folder")
