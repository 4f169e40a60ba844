"""Requests, on their way into the record and out of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.intake.request import PublishRequest, Request, UploadRequest
from tasks.records.requests import transfer_from_record
from tasks.transfer.models import AskedFor, Transfer
from tasks.transfer.targets import Container, Publish, Target

VERSION = "9d1ad1a2-5b1c-4a0e-9a55-0a1b2c3d4e5f"
TARGET = Target.under_version(VERSION, "main", thumbnail=True)
REQUEST = UploadRequest(
    "/mnt/a.exr", TARGET, 6, 1_000, host="node7", allow_empty=True, asked_at=5.5
)


def test_a_request_comes_out_of_the_record_as_a_transfer() -> None:
    record = json.loads(json.dumps(REQUEST.to_record()))

    assert transfer_from_record(REQUEST.upload_id, record) == Transfer(
        REQUEST.upload_id, TARGET, "/mnt/a.exr", True, AskedFor(6, 1_000, "node7", 5.5)
    )


def test_a_record_of_a_former_version_asks_for_any_contents() -> None:
    record = REQUEST.to_record()
    for name in ("size", "mtime_ns", "host", "asked_at"):
        del record[name]

    assert transfer_from_record(REQUEST.upload_id, record).asked == AskedFor()


def test_the_same_request_for_the_same_file_is_the_same_upload() -> None:
    again = UploadRequest("/mnt/a.exr", TARGET, 6, 1_000, priority="urgent", host="node7")

    assert again.upload_id == REQUEST.upload_id


@pytest.mark.parametrize(
    "other",
    [
        UploadRequest("/mnt/b.exr", TARGET, 6, 1_000),
        UploadRequest("/mnt/a.exr", TARGET, 7, 1_000),
        UploadRequest("/mnt/a.exr", TARGET, 6, 1_001),
        UploadRequest("/mnt/a.exr", TARGET),
        UploadRequest("/mnt/a.exr", Target.under_version(VERSION, "beauty"), 6, 1_000),
        UploadRequest("/mnt/a.exr", Target.under_version("other", "main"), 6, 1_000),
        UploadRequest("/mnt/a.exr", Target(TARGET.component_id), 6, 1_000),
    ],
    ids=["path", "size", "mtime", "no-stat", "name", "version", "component"],
)
def test_another_request_is_another_upload(other: UploadRequest) -> None:
    assert other.upload_id != REQUEST.upload_id


def record_with(**values: Any) -> dict[str, Any]:
    return {**REQUEST.to_record(), **values}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (record_with(id="another"), "belongs to another upload"),
        (record_with(target={"component_id": "c", "new": 1}), "cannot read the request, .*'new'"),
        (record_with(target={}), "cannot read the request"),
        (record_with(target=None), "cannot read the request"),
        (record_with(target={"component_id": 5}), "component_id is not a UUID"),
        (record_with(target={"component_id": 'x" or id like "%'}), "component_id is not a UUID"),
        (
            record_with(target={"component_id": VERSION, "version_id": '"'}),
            "version_id is not a UUID",
        ),
        (record_with(path=["/etc"]), "the path is not one"),
        (record_with(path="/mnt/\0"), "the path is not one"),
        (record_with(size="6"), "size is of another type"),
        (record_with(mtime_ns=1.5), "mtime_ns is of another type"),
        (record_with(host=7), "host is of another type"),
        (record_with(asked_at=True), "asked_at is of another type"),
        ({"id": REQUEST.upload_id}, "'path'"),
        ([], "cannot read the request"),
        ("text", "cannot read the request"),
        (None, "cannot read the request"),
        (5, "cannot read the request"),
    ],
    ids=repr,
)
def test_a_record_that_is_not_valid_is_refused(record: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        transfer_from_record(REQUEST.upload_id, record)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["id", "path", "target", "component_id"]), inner)
        ),
    )
)
def test_any_value_in_a_record_is_read_or_a_value_error(value: Any) -> None:
    for record in (value, record_with(target=value), record_with(path=value)):
        try:
            transfer_from_record(REQUEST.upload_id, record)
        except ValueError as error:
            assert "request" in str(error)  # noqa: PT017 most values are refused, some fit


# What former versions have written


MAIN = Target.under_version(VERSION, "main", thumbnail=True, metadata=(("a", "ü"), ("b", "2")))
SEQUENCE = Target.under_version(VERSION, "seq")
FRAME = UploadRequest("/mnt/f.1.exr", Target.frame(SEQUENCE, "1"), 5, 1, is_member=True)
PUBLISH = PublishRequest(
    "/mnt/f.%d.exr [1]",
    SEQUENCE.component_id,
    Publish((Container(SEQUENCE, ".exr", 4),)),
    (FRAME,),
)
#: Requests, with their records as version 0.1 has written them.
KNOWN: dict[str, tuple[Request, dict[str, Any]]] = {
    "version": (
        UploadRequest("/mnt/a.exr", MAIN, 6, 1000, allow_empty=True),
        {
            "id": "ec3abe7c-5564-5380-b67c-fbb375ee0961",
            "path": "/mnt/a.exr",
            "target": {
                "component_id": "e6c8b187-1a0f-54ef-b749-a4a33223d8b3",
                "version_id": VERSION,
                "name": "main",
                "thumbnail": True,
                "metadata": [["a", "ü"], ["b", "2"]],
            },
            "allow_empty": True,
        },
    ),
    "component": (
        UploadRequest("/mnt/a.exr", Target(VERSION)),
        {
            "id": "a15e9eef-a9c7-5914-a62e-dd5d462ee1ed",
            "path": "/mnt/a.exr",
            "target": {"component_id": VERSION},
            "allow_empty": False,
        },
    ),
    "frame": (
        FRAME,
        {
            "id": "0cf8ca20-ec37-5e97-a32a-47b86b6f6e2a",
            "path": "/mnt/f.1.exr",
            "target": {
                "component_id": "b79de6c7-2616-5d2d-9389-3128c6ab2814",
                "version_id": VERSION,
                "name": "1",
                "container_id": "c64886d5-5296-5c24-81d0-9ceb172f033b",
            },
            "allow_empty": False,
            "is_member": True,
        },
    ),
    "publish": (
        PUBLISH,
        {
            "id": "2a0f6e69-db4d-53eb-a88a-b67d7e7207fd",
            "path": "/mnt/f.%d.exr [1]",
            "target": {"component_id": "c64886d5-5296-5c24-81d0-9ceb172f033b"},
            "allow_empty": False,
            "publish": {
                "containers": [
                    {
                        "target": {
                            "component_id": "c64886d5-5296-5c24-81d0-9ceb172f033b",
                            "version_id": VERSION,
                            "name": "seq",
                            "thumbnail": False,
                            "encode": False,
                            "task_id": None,
                            "metadata": [],
                            "container_id": None,
                        },
                        "file_type": ".exr",
                        "padding": 4,
                    }
                ]
            },
        },
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_ids_and_records_are_those_of_former_versions(name: str) -> None:
    """A change would upload everything again that is known, or stop what is under way."""
    wanted, record = KNOWN[name]

    now = json.loads(json.dumps(wanted.to_record()))
    assert {field: now[field] for field in record} == record
    assert wanted.upload_id == record["id"]
