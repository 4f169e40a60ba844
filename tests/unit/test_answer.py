"""What enqueue prints for an upload."""

from __future__ import annotations

import json

import pytest

from tasks.intake.answer import size, upload_line
from tasks.intake.request import PublishRequest, UploadRequest
from tasks.transfer.targets import Publish, Target

FILE = UploadRequest("/mnt/ä b.exr", Target("c"), 1_234_567, 5)
PUBLISH = PublishRequest("v003", "p", Publish(), (FILE, FILE))


def test_programs_get_json() -> None:
    assert json.loads(upload_line(FILE, "queued", human=False)) == {
        "upload_id": FILE.upload_id,
        "component_id": "c",
        "path": "/mnt/ä b.exr",
        "size": 1_234_567,
        "state": "queued",
    }
    assert json.loads(upload_line(PUBLISH, "queued", human=False))["files"] == 2


def test_people_get_columns() -> None:
    line = upload_line(FILE, "queued", human=True)

    assert line == f"queued     {FILE.upload_id}     1.2 MB  /mnt/ä b.exr"


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (None, "?"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (10**12, "1.0 TB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_a_size_is_shown_in_decimal_units(size_bytes: int | None, shown: str) -> None:
    assert size(size_bytes) == shown
