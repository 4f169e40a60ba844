"""Requests, on their way into the record and out of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.intake.request import UploadRequest, from_spool, to_spool, transfer_from_record
from tasks.transfer.models import Target, Transfer

VERSION = "9d1ad1a2-5b1c-4a0e-9a55-0a1b2c3d4e5f"
TARGET = Target.under_version(VERSION, "main", thumbnail=True)
REQUEST = UploadRequest("/mnt/a.exr", TARGET, 6, 1_000, allow_empty=True)


def test_a_request_comes_out_of_the_record_as_a_transfer() -> None:
    record = json.loads(json.dumps(REQUEST.to_record()))

    assert transfer_from_record(REQUEST.upload_id, record) == Transfer(
        REQUEST.upload_id, TARGET, "/mnt/a.exr", allow_empty=True
    )


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
        (record_with(path=["/etc"]), "no path"),
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


@pytest.mark.parametrize("asked_at", ["1795000000", True, [], {}])
def test_a_spooled_request_has_a_number_as_its_time(asked_at: object) -> None:
    values = to_spool(UploadRequest("/mnt/a.exr", TARGET, 6, 1_000), 1795.5)

    assert from_spool(values).asked_at == 1795.5
    with pytest.raises(TypeError):
        from_spool({**values, "asked_at": asked_at})
