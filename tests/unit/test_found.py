"""The table of uploads for people: what stands above it if they are many."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.records.search import Hits
from tasks.records.upload_state import broken_state
from workers.cli.found import show_found


@pytest.mark.parametrize("by", ["folder", "version"])
def test_what_has_no_folder_or_version_is_counted_as_such(
    by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    publish = replace(broken_state("id"), path="sh010 v003", state="located")
    hits = Hits([], {"located": 2}, is_cut=False)

    show_found([publish] * 2, hits, counts="2 located", now=0.0, by=by, limit=1)

    assert capsys.readouterr().out.splitlines()[0] == f"(no {by})  2 of 2 located, 0 B"
