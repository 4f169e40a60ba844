"""Fifteen questions about a farm in trouble, answered from the browser alone.

They were written before the pages were looked at again. docs/flower.md lists them with the page
that answers each. SCREENSHOTS=docs/img in the environment takes its pictures again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tasks.config.sealing import Codec
from tasks.records.scripts import Scripts
from tests.browser.axe import serious_findings
from tests.browser.trouble import VERSIONS, Trouble
from tests.farm import BIN
from tests.helpers.documents import DOCS, section
from tests.sandbox import RedisServer
from tests.sandbox.process import CHECKOUT, Child, accepts, free_ports

# The time of the first test includes the installation of Chromium.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

LOGIN = {"username": "operator", "password": "a-password-of-the-test"}
#: The pages of what the farm has, once there is one.
PLACES: dict[str, str] = {}
VIEW, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class Question(NamedTuple):
    """What somebody asks, what one types into the search or opens, and what is read there."""

    asked: str
    search: str
    follow: str
    read: tuple[str, ...]


QUESTIONS = [
    Question("Is the comp of sh010 in ftrack?", "sh010 comp", "", ("located", "12 of 12 files")),
    Question("How far is the beauty of sh020?", "sh020 beauty", "", ("storing", "40 of 48 files")),
    Question(
        "Which frames of sh020 are missing, and why?",
        "sh020 beauty",
        "sh020_beauty",
        ("Not stored yet", "sh020_beauty_v003.1041.exr", "is missing on 3 nodes"),
    ),
    Question(
        "When will the movie of sh040 be there?",
        "sh040 mov",
        "sh040_review",
        ("25 %", "50.0 MB/s", "60 s left"),
    ),
    Question(
        "Why did the fx of sh030 fail, and what am I to do?",
        "sh030 fx",
        "sh030_fx",
        ("Failed:", "is missing on 3 nodes", "is it still being written? then: farmhaul retry"),
    ),
    Question("Who asked for it, and from which machine?", "sh030 fx", "", ("ada on node007",)),
    Question(
        "Is ftrack or the store down, and since when?",
        "",
        "Farm",
        (r"The gate of store has been closed for 1\d min", "the gate opens by itself"),
    ),
    Question(
        "Which machine is broken, since when, and what helps?",
        "",
        "Farm",
        (
            r"w1@node003 has taken no uploads for [23]\d min",
            "/mnt/show is empty",
            "check its mounts, FARMHAUL_STORAGE_ROOTS",
        ),
    ),
    Question(
        "What waits, for how long, and what holds it back?",
        "",
        "Farm",
        ("Pending uploads, normal", "11", r"4\d min", "The outage of store"),
    ),
    Question(
        "What has failed lately, and for which reasons?",
        "",
        "Farm",
        ("StoreRefusedError", "3", "FileNotReadyError", "1"),
    ),
    Question(
        "Which shots are late, and by how much?",
        "show",
        "by folder",
        ("/mnt/show/sh040/plate", r"4\d min", "0 of 14", "7 folders, 4 late"),
    ),
    Question(
        "What has node007 sent in the last hour?",
        "host:node007 since:1h",
        "",
        ("15 found, 4 failed, 11 pending",),
    ),
    Question(
        "Is my retry of sh010's grade under way?",
        "sh010 grade",
        "sh010_grade",
        ("by ada on ws12", "retried", "ftrack shows it"),
    ),
    Question(
        "Which versions are complete since an hour ago?",
        "since:1h",
        "by version",
        ("/mnt/show/sh010/", "complete: 2 of 2"),
    ),
    Question(
        "Who has cancelled the roto of sh010?",
        "sh010 roto",
        "sh010_roto",
        ("cancelled", "by ben in Flower"),
    ),
]


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("flower")
    server = RedisServer(folder / "redis")
    server.start()
    client: Any = server.client()
    trouble = Trouble(client, Scripts(client, Codec([])))
    PLACES.update(
        publish=f"upload/{trouble.storing}",
        movie=f"upload/{trouble.movie}",
        failed=f"upload/{trouble.failed}",
        version=f"uploads/version/{VERSIONS[40]}",
        summary="uploads/summary?q=show",
        download=f"download/{trouble.download}",
        search=f"uploads?q={trouble.download}",
    )
    [port] = free_ports(1)
    env = {"FARMHAUL_REDIS_URL": server.url, "FLOWER_DB": str(folder / "db")}
    env |= {"FLOWER_BASIC_AUTH": ":".join(LOGIN.values()), "FLOWER_READ_ONLY": "false"}
    config = CHECKOUT / "deploy/flower/flowerconfig.py"
    options = [f"--conf={config}", f"--port={port}"]
    command = [str(BIN / "celery"), "-A", "workers", "flower", *options]
    child = Child("flower", command, folder / "flower.log", env=env)
    child.wait_ready(lambda: accepts(port))
    yield f"http://127.0.0.1:{port}"
    child.stop(20)
    server.stop()


@pytest.fixture
def page(browser: Any, flower: str) -> Iterator[Any]:
    context = browser.new_context(http_credentials=LOGIN, viewport=VIEW)
    one = context.new_page()
    # A browser sends its login to pages below the one that asked for it.
    one.goto(flower)
    yield one
    context.close()


def shoot(page: Any, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        picture = Path(folder).absolute() / f"flower-{name}.png"
        page.screenshot(path=picture)
        assert picture.stat().st_size <= 150_000


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
def test_a_new_supervisor_finds_the_answer(
    page: Any, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    question = QUESTIONS[number]
    began = time.perf_counter()
    if question.search:
        page.get_by_role("link", name="Uploads").click()
        page.locator("#fh-query").fill(question.search)
        page.get_by_role("button", name="Search").click()
        page.locator("#fh-summary", has_text="found").wait_for()
    if question.follow:
        page.get_by_role("link", name=question.follow).first.click()
        page.locator("main h1").wait_for()
    text = page.locator("main")
    for words in question.read:
        # The time goes on while a loaded machine runs the tests.
        wanted = re.compile(words) if "\\d" in words else words
        text.get_by_text(wanted).first.wait_for(timeout=20_000)
    with capsys.disabled():
        print(f"\n{time.perf_counter() - began:5.1f} s  {question.asked}", end=" ")
    shoot(page, f"question-{number + 1}")
    assert question.asked in section(DOCS["flower.md"], "Fifteen questions")


#: An id that no upload has.
NOBODY = "00000000-0000-4000-8000-000000000000"
OWN = ["uploads", "uploads?q=sh040", "uploads?q=nothing", "uploads?q=since:2", "farm"]
OWN += ["uploads/summary?by=version", "summary", "downloads"]
OF_ONE = ["version", "publish", "movie", "failed", "download", "search", f"upload/{NOBODY}"]
#: The heights of the pictures that docs/flower.md shows.
PICTURES = {
    "version": 820,
    "summary": 760,
    "publish": 1040,
    "farm": 900,
    "download": 640,
    "broker": 450,
}
PAGES = [*OWN, *OF_ONE, "broker", "workers", "tasks"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", [VIEW, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_serious_and_each_page_fits(
    browser: Any, flower: str, scheme: str, view: dict[str, int]
) -> None:
    context = browser.new_context(
        http_credentials=LOGIN, viewport=view, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(flower)
    lines = []
    for path in PAGES:
        status = page.goto(f"{flower}/{PLACES.get(path, path)}").status
        assert status == (404 if NOBODY in path else 200), path
        page.locator("main").wait_for()
        if (scheme, view) == ("light", VIEW) and path in PICTURES:
            page.set_viewport_size({**VIEW, "height": PICTURES[path]})
            shoot(page, path)
        lines += [f"{path}: {line}" for line in serious_findings(page)]
        wide = page.evaluate("document.documentElement.scrollWidth")
        lines += [f"{path} is {wide} wide"] if wide > view["width"] else []
    context.close()
    assert not lines, "\n".join(lines)
