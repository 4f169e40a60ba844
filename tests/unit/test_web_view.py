"""What the pages of Flower show: shares, times and charts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from tasks.records import history, keys
from tasks.records.fetches import FetchState
from tasks.records.inbox import Waiting
from tasks.records.nodes import NodeFault
from tasks.records.query import parsed
from tasks.records.search import Page
from tasks.records.status import Backlog, Gate
from tasks.records.upload_state import UploadState
from tasks.transfer.errors import FileRefusedError
from tests.unit.records import Farm as RecordsFarm
from tests.unit.records import file_of
from workers.web import farm_text, view
from workers.web.access import Records
from workers.web.downloads import events_of
from workers.web.farm import Farm, Node
from workers.web.timeline import Event
from workers.wording import span

UPLOAD = UploadState(
    upload_id="u",
    component_id="c",
    path="/mnt/sh020/beauty.1001.exr",
    state="active",
    stage="put_file",
    size_bytes=1000,
    sent_bytes=250,
    worker="w1@node7",
    error="",
    error_kind="",
    created=100.0,
    updated=110.0,
    due=None,
    tries=0,
    bytes_s=50.0,
    asked_host="node9",
    asked_user="ada",
)


@pytest.mark.parametrize(
    ("changed", "percent", "progress"),
    [
        ({}, 25, "250 B of 1.0 kB"),
        ({"size_bytes": None}, 0, "? B"),
        ({"size_bytes": 0, "sent_bytes": 0}, 0, "0 B of 0 B"),
        ({"sent_bytes": 2000}, 100, "2.0 kB of 1.0 kB"),
        ({"state": "located"}, 100, "1.0 kB"),
        ({"state": "storing", "files": 4, "stored": 3}, 75, "250 B of 1.0 kB, 3 of 4 files"),
        ({"state": "located", "files": 4, "stored": 0}, 100, "1.0 kB, 4 of 4 files"),
    ],
)
def test_a_row_has_the_share_that_is_sent(changed: Any, percent: int, progress: str) -> None:
    row = view.row_of(replace(UPLOAD, **changed), 160.0)

    assert row.percent == percent
    if changed.get("size_bytes", 1) is not None:
        assert row.progress == progress


def test_a_row_says_where_it_is_who_asked_and_how_long_it_takes() -> None:
    row = view.row_of(UPLOAD, 160.0)

    assert (row.name, row.folder) == ("beauty.1001.exr", "/mnt/sh020")
    assert (row.rate, row.left, row.age) == ("50 B/s", "15 s", "60 s")
    assert (row.stage, row.worker, row.who) == ("put_file", "w1@node7", "ada on node9")


def test_a_superseded_upload_names_the_newer_one() -> None:
    other = "5d27e920-0000-4000-8000-000000000001"
    error = f"superseded by {other}"

    assert view.newer(replace(UPLOAD, state="superseded", error=error)) == other
    assert view.newer(replace(UPLOAD, state="superseded", error="superseded by <b>")) == ""
    assert view.newer(replace(UPLOAD, state="failed", error=error)) == ""


def test_what_is_found_is_said_and_where_the_list_ends() -> None:
    page = Page([], 3, {"failed": 1, "located": 2, "pending": 0})

    assert view.found(page, parsed("")) == ""
    assert view.found(page, parsed("since:1h", now=1e9)) == "3 found, 1 failed, 2 located"
    assert view.found(replace(page, is_cut=True), parsed("sh020")) == (
        "3 or more found, 1 failed, 2 located. The list ends there: ask for less, as by since:1h."
    )


def test_times_are_in_words() -> None:
    spans = [span(seconds) for seconds in (None, -5, 89, 90, 3599, 12000, 7200, 90 * 3600)]

    assert spans == ["", "0 s", "89 s", "2 min", "1 h", "3 h 20 min", "2 h", "3 d"]
    now = 1_795_731_199.0
    assert [view.clock(at, now) for at in (now - 60, now - 86400)] == [
        "22:12:19 UTC",
        "2026-11-25 22:13:19 UTC",
    ]
    assert [view.ago(at, now) for at in (now - 600, now, now + 600)] == [
        "10 min ago",
        "0 s ago",
        "in 10 min",
    ]


def test_an_hour_is_drawn_from_its_samples_as_rates(farm: RecordsFarm) -> None:
    for minute in range(3):
        farm.client.hset(keys.TOTALS, "stored_bytes", minute * 600)
        history.note(farm.client)
    farm.enqueue(file_of())
    history.note(farm.client)
    odd = ("junk", "[]", '{"at": "x"}', f'{{"at": 1{"0" * 400}}}', "[" * 100_000)
    farm.client.rpush(keys.HISTORY, *odd)
    samples = [row | {"at": 60.0 * number} for number, row in enumerate(history.read(farm.client))]

    throughput, _, waiting, _ = farm_text.charts(samples)

    assert (throughput.highest, throughput.latest) == ("10 B/s", "0 B/s")
    assert (waiting.highest, waiting.latest) == ("1", "1")
    assert throughput.points.startswith("0.0,4.0 ")
    assert farm_text.charts(samples[:1]) == []
    assert 0 < farm.client.ttl(keys.HISTORY) <= history.LIVES_S


def test_a_broken_record_has_a_page_too(farm: RecordsFarm) -> None:
    odd, gone = farm.enqueue(file_of(), file_of())
    poison = {"at:1": "x", "at:2": "1e300", "located": "nan", "updated": "x", "log": "[1]"}
    farm.client.hset(keys.upload_key(odd), mapping=poison)
    farm.client.delete(keys.upload_key(gone))
    farm.client.rpush(keys.upload_key(gone), "x")
    records = Records()
    records.scripts = farm.record.scripts

    pages = [page for page in map(records.upload, (odd, gone)) if page]
    assert [page.upload.is_broken for page in pages] == [True, True]
    for page in pages:
        assert [event.what for event in page.events] == ["taken in by a worker"]


def test_the_farm_reads_the_errors_of_failed_uploads_once(farm: RecordsFarm) -> None:
    ids = farm.enqueue(*(file_of() for _ in range(3)))
    for transfer in farm.deliver():
        farm.fail(transfer, FileRefusedError("/mnt/a.exr", "is empty"))
    records = Records()
    records.scripts = farm.record.scripts
    assert records.farm().kinds == [("FileRefusedError", 3)]

    reads = [farm.client.info("commandstats")["cmdstat_hget"]["calls"]]
    assert records.farm().kinds == [("FileRefusedError", 3)]
    reads.append(farm.client.info("commandstats")["cmdstat_hget"]["calls"])
    assert reads[0] == reads[1]

    farm.client.hset(keys.upload_key(ids[0]), "error_kind", "StoreRefusedError")
    farm.client.zadd(keys.state_key("failed"), {ids[0]: farm.now()})
    assert records.farm().kinds == [("FileRefusedError", 2), ("StoreRefusedError", 1)]


@pytest.mark.parametrize(
    ("state", "files", "said"),
    [
        ("located", 0, "yes"),
        ("located", 4, "yes, all of its files"),
        ("stored", 0, "its bytes are; ftrack shows them with the rest of its sequence or publish"),
        ("retrying", 0, "not yet"),
        ("failed", 4, "no"),
    ],
)
def test_the_page_says_whether_ftrack_shows_it(state: str, files: int, said: str) -> None:
    assert view.in_ftrack(replace(UPLOAD, state=state, files=files)) == said


@pytest.mark.parametrize(
    ("server", "version", "address"),
    [
        ("https://studio.example/", "v1", "https://studio.example/#slideEntityId=v1&"),
        ("https://studio.example", "", ""),
        ("javascript:alert(1)", "v1", ""),
        ("", "v1", ""),
    ],
)
def test_a_version_links_to_ftrack_if_flower_knows_where_that_is(
    server: str, version: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWER_FTRACK_SERVER", server)

    found = view.ftrack_link(version)

    assert found.startswith(address)
    assert bool(found) == bool(address)


GOOD = Node("w1@a", "0.1.0", takes=True, fault=None)
BAD = GOOD._replace(fault=NodeFault("w1@b", 0.0, "files", "", known=True))
QUIET = Farm(
    now=1000.0,
    nodes=[GOOD],
    gates=[Gate("store", closed=False, since=0.0)],
    queues=[],
    inbox=Waiting(0, None),
    backlog=[],
    limits={"bandwidth": "50M"},
    history=[{"at": 900.0, "stored_bytes": 0.0}, {"at": 960.0, "stored_bytes": 60 * 45e6}],
    kinds=[],
)
TABLE = "08:00-20:00=50M,else=40M"
WAITS = [Backlog("", "normal", 30, 60.0)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {},
            "Nothing: no upload is pending. What is being sent shares the limit of 50M, in bytes",
        ),
        ({"retrying": 1, "limits": {}}, "No upload is pending; 1 is retrying; its page says why"),
        (
            {"retrying": 2, "limits": {}},
            "No upload is pending; 2 are retrying; their pages say why",
        ),
        (
            {"retrying": 1, "limits": {}, "why": "ftrack refuses the credentials\x1b"},
            "No upload is pending; 1 is retrying: ftrack refuses the credentials\\x1b.",
        ),
        (
            {"retrying": 2, "why": "ftrack is down."},
            "No upload is pending; 2 are retrying, the latest because: ftrack is down. What",
        ),
        ({"backlog": WAITS}, "The limit of 50M, in bytes a second: see farmhaul limit."),
        (
            {"backlog": WAITS, "limits": {"bandwidth": "08:00-20:00=50M,else=off"}},
            "The workers: one worker takes",  # it is 00:16 in UTC
        ),
        (
            {"backlog": WAITS, "limits": {"bandwidth": TABLE, "zone": "Asia/Tokyo"}},
            "The limit of 08:00-20:00=50M until 20:00 in Asia/Tokyo, in bytes a second",
        ),
        (
            {"backlog": WAITS, "limits": {"bandwidth": TABLE}},
            "The limit of else=40M until 08:00 in UTC, in bytes a second",
        ),
        (
            {"backlog": WAITS, "limits": {"bandwidth": TABLE, "zone": "Mars"}},
            "The workers: one worker takes",
        ),
        ({"backlog": WAITS, "limits": {}}, "The workers: one worker takes what waits"),
        ({"backlog": WAITS, "history": []}, "The workers: one worker takes what waits"),
        ({"backlog": WAITS, "limits": {"bandwidth": "what"}}, "The workers: one worker"),
        ({"backlog": WAITS, "limits": {}, "nodes": [GOOD, GOOD]}, "The workers: 2 workers take"),
        ({"nodes": [BAD]}, "No worker takes uploads"),
        ({"gates": [Gate("ftrack", closed=True, since=0.0)]}, "The outage of ftrack: uploads go"),
        ({"inbox": Waiting(4, 30.0)}, "Workers take in what hooks ask for"),
    ],
)
def test_the_farm_says_what_holds_it_back(changed: Any, said: str) -> None:
    assert farm_text.held_back_by(QUIET._replace(**changed)).startswith(said)


def test_the_farm_says_how_long_what_waits_will_take() -> None:
    def samples(*located: float) -> list[dict[str, float]]:
        return [{"at": 100.0 + 60 * n, "located": one} for n, one in enumerate(located)]

    def said(*located: float) -> str:
        farm = QUIET._replace(backlog=WAITS, limits={}, history=samples(*located))
        return farm_text.held_back_by(farm).partition("faster.")[2].strip()

    # Of an hour, the last ten minutes count.
    hour = [900.0 * n for n in range(50)] + [45_000.0 + 3 * n for n in range(11)]
    assert said(*hour) == "At the pace of the last 10 min, all that waits is done in 10 min."
    for odd in ((), (5.0,), (5.0, 5.0), (5.0, 4.0), (1.0, math.nan), (0.0, 1e-300)):
        assert said(*odd) == "", odd


def test_what_no_upload_fits_may_be_a_download_or_in_the_inbox() -> None:
    one = FetchState(
        "an-id", "c", "/mnt/in", "fetching", files=3, fetched=1, received_bytes=42_000_000,
        worker="w1@a", error="", error_kind="", created=0.0, updated=0.0,
        size_bytes=100_000_000, bytes_s=1_000_000,
    )  # fmt: skip
    waits = replace(one, state="queued", received_bytes=0, size_bytes=None, files=0)

    assert view.elsewhere(one) == (
        "A download, fetching, 42 %, 42.0 MB of 100.0 MB, 1 of 3 files, 1.0 MB/s, 58 s left, "
        "to /mnt/in, on w1@a. To follow it: farmhaul watch an-id"
    )
    assert view.elsewhere(waits) == (
        "A download, queued, 0 B, to /mnt/in. To follow it: farmhaul watch an-id"
    )
    assert view.elsewhere(2) == (
        "0 found. It may be in the inbox: 2 entries are not taken in; see Farm."
    )
    assert view.elsewhere(0) == ""


def test_a_cancel_has_its_own_time_in_the_timeline_of_a_download() -> None:
    one = FetchState(
        "an-id", "c", "/mnt/in", "cancelled", files=3, fetched=1, received_bytes=0, worker="w1@a",
        error="", error_kind="", created=1.0, updated=9.0, cancelled_by="ada", cancelled=5.0,
    )  # fmt: skip
    # Its worker has written since.
    assert events_of(one)[-1] == Event(5.0, "cancelled", "by ada")
    former = replace(one, cancelled=0.0)
    assert events_of(former)[-1] == Event(9.0, "cancelled", "by ada")
