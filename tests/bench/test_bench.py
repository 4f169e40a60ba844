"""The instruments: the sink answers real clients, tables and plots show the measurements."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from xml.etree import ElementTree

import pytest
import requests

from tasks.transfer.checksum import compute_checksum
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.get import get_file
from tasks.transfer.lookup import find_files
from tasks.transfer.models import Transfer
from tasks.transfer.put import put_file, store_session
from tasks.transfer.register import locate
from tasks.transfer.signed_get import signed_url
from tasks.transfer.signing import sign
from tasks.transfer.targets import Target
from tests.bench import compare, plot
from tests.bench.result import Result
from tests.bench.result import Target as Goal
from tests.bench.sink import Sink
from tests.sandbox import seed


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with Sink(tmp_path) as sink:
        yield sink


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    path = tmp_path / "sh010.1001.exr"
    path.write_bytes(b"render" * 50_000)
    return path


def test_the_sink_takes_an_upload_and_counts_it(sink: Sink, frame: Path, tmp_path: Path) -> None:
    roots = [str(tmp_path.resolve())]
    client = FtrackClient(sink.api_url, seed.API_USER, seed.API_KEY)
    target = Target.under_version(seed.VERSION_ID, "main")
    checked = compute_checksum(Transfer("one", target, str(frame)), roots)

    signed = sign(client, [checked])["one"]
    assert isinstance(signed, Transfer)
    put_file(signed, store_session(1), roots)
    locate(client, [signed])

    store, api = sink.store_stats(), sink.api_stats()
    assert (store["puts"], store["bytes"], store["under_way"]) == (1, 300_000, 0)
    assert (api["calls"], api["located"]) == (2, 1)
    assert api["first_call"] < store["first_put"] < api["last_located"]


def test_a_far_sink_answers_late_and_reads_slowly(sink: Sink, frame: Path, tmp_path: Path) -> None:
    sink.conduct(latency_s=0.05, connect_s=0.05, bytes_s=3e6)
    with requests.Session() as session:
        seconds = []
        for _ in range(2):
            began = perf_counter()
            session.put(f"{sink.store_url}/x", data=frame.read_bytes()).raise_for_status()
            seconds.append(perf_counter() - began)

    # 100 ms for the bytes, 50 ms for the response, and 50 ms for the first connection.
    assert seconds[0] >= 0.2
    assert seconds[1] >= 0.15


@pytest.mark.parametrize(
    ("wanted", "value", "reached"),
    [(">= 6", 6.1, True), (">= 6", 5.9, False), ("<= 1.5", 1.4, True), ("<= 1.5", 1.6, False)],
    ids=["above", "too low", "below", "too high"],
)
def test_a_target_knows_whether_it_is_reached(wanted: str, value: float, reached: bool) -> None:
    assert Goal("speed", value, wanted).reached is reached


def test_a_missed_target_stands_out_in_the_table() -> None:
    result = Result("small", "Small files", "Near.", ("", "seconds"), [("farmhaul", "0.8")])
    result.targets = [Goal("against the official client", 5.5, ">= 6", " x")]

    assert "MISSED: against the official client: 5.5 x, target ≥ 6 x" in result.text()
    assert "| farmhaul | 0.8 |" in result.markdown()


def test_a_figure_without_a_goal_is_neither_reached_nor_missed() -> None:
    assert Goal("status", 300, "<=", " ms").line() == "status: 300 ms"


@pytest.mark.parametrize(
    ("wanted", "last", "now", "worse"),
    [
        (">= 6", 7, 6.2, True),
        (">= 6", 7, 6.5, False),
        ("<= 60", 50, 56, True),
        ("<=", 50, 9, False),
    ],
    ids=["less", "a little less", "more", "much less"],
)
def test_what_is_slower_than_on_the_last_page_is_named(
    tmp_path: Path, wanted: str, last: float, now: float, *, worse: bool
) -> None:
    then, current = (Result("small", "", "", ()) for _ in range(2))
    then.targets = [Goal("the figure", last, wanted, " x")]
    current.targets = [Goal("the figure", now, wanted, " x"), Goal("another", 1, wanted)]
    compare.write(tmp_path / "page.json", [then], "abc1234", "this machine")

    page = compare.Page.read(tmp_path / "page.json")
    shown = compare.report([current], page, "this machine")

    assert "the page of " in shown
    assert "another machine" not in shown
    assert (f"  small: the figure: {last} to {now} x" in shown) is worse
    assert ("Nothing is slower" in shown) is not worse


def test_without_a_page_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    page = compare.Page.read(tmp_path / "page.json")
    assert compare.report([], page, "").startswith("No page to compare with")


def test_a_file_of_the_sink_comes_back_in_its_size(sink: Sink, frame: Path, tmp_path: Path) -> None:
    roots = [str(tmp_path.resolve())]
    client = FtrackClient(sink.api_url, seed.API_USER, seed.API_KEY)
    target = Target.under_version(seed.VERSION_ID, "main")
    checked = compute_checksum(Transfer("one", target, str(frame)), roots)
    signed = sign(client, [checked])["one"]
    assert isinstance(signed, Transfer)
    put_file(signed, store_session(1), roots)
    locate(client, [signed])

    [found] = find_files(client, [signed.component_id])
    folder = os.open(tmp_path, os.O_RDONLY)
    with store_session(1) as session:

        def url_of(component_id: str) -> str:
            return signed_url(sink.api_url, "user", "key", component_id, session)

        get_file(found, folder, url_of, session)
    os.close(folder)

    assert (tmp_path / found.name).read_bytes() == bytes(300_000)
    assert found.size_bytes == 300_000


def test_a_plot_is_an_image_with_a_point_for_each_measure() -> None:
    drawn = plot.svg("Growth", "processes", "times", {"measured": [(1, 1), (2, 1.9), (4, 3.6)]})

    root = ElementTree.fromstring(drawn)
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 3
