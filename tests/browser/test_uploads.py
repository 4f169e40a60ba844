"""The pages Uploads and Farm, with many records, a real browser, and no mouse where none is needed.

SCREENSHOTS=docs/img in the environment takes the pictures of docs/flower.md again.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tasks.config.sealing import Codec
from tasks.intake.request import UploadRequest
from tasks.records import keys
from tasks.records.commands import Commands
from tasks.records.scripts import Scripts
from tasks.transfer.targets import Target
from tests.browser.keyboard import tab_to
from tests.browser.nodes import keep_noting
from tests.farm import BIN, wait_until
from tests.helpers.many_records import fill
from tests.sandbox import RedisServer
from tests.sandbox.process import CHECKOUT, Child, accepts, free_ports

# The time of the first test includes the installation of Chromium.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

#: RECORDS=100000 measures the pages with as many as a farm has.
RECORDS = int(os.environ.get("RECORDS", "2000"))
LOGIN = {"username": "operator", "password": "a-password-of-the-test"}
DESK, PHONE = {"width": 1280, "height": 820}, {"width": 390, "height": 844}
NODE = "w1@node003"


class Flower:
    """Flower with control, on a Redis with many records and two nodes."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        [self.port] = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "flower.log"
        self.redis: Any = server.client()
        fill(Scripts(self.redis, Codec([])), RECORDS)
        now = time.time()
        nodes = [NODE, "w1@node004"]
        keep_noting(self.redis, nodes, nodes)
        for minute in range(60):
            sample = {"at": now - 60 * (60 - minute), "stored_bytes": minute**2 * 1e8}
            sample |= {"located": minute * 40, "failed": minute // 20, "pending": 60 - minute}
            self.redis.rpush(keys.HISTORY, json.dumps(sample))
        env = {"FARMHAUL_REDIS_URL": server.url, "FLOWER_READ_ONLY": "false"}
        env |= {"FLOWER_BASIC_AUTH": ":".join(LOGIN.values()), "FLOWER_DB": str(folder / "db")}
        config = CHECKOUT / "deploy" / "flower" / "flowerconfig.py"
        options = [f"--conf={config}", f"--port={self.port}"]
        self.child = Child(
            "flower", [BIN / "celery", "-A", "workers", "flower", *options], self.log, env=env
        )
        self.child.wait_ready(lambda: accepts(self.port))

    def first(self, state: str) -> str:
        return str(self.redis.zrange(keys.state_key(state), 0, 0)[0])


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    folder = tmp_path_factory.mktemp("flower")
    server = RedisServer(folder / "redis")
    server.launch()
    one = Flower(folder, server)
    yield one
    one.child.stop(20)
    server.stop()


def open_page(browser: Any, flower: Flower, view: dict[str, int], **options: Any) -> Any:
    context = browser.new_context(http_credentials=LOGIN, viewport=view, **options)
    page = context.new_page()
    # A browser sends its login to pages below the one that asked for it.
    page.goto(flower.url)
    return page


@pytest.fixture
def page(browser: Any, flower: Flower) -> Iterator[Any]:
    one = open_page(browser, flower, DESK)
    said: list[str] = []
    one.on("console", lambda message: said.append(message.text))
    one.on("pageerror", lambda error: said.append(str(error)))
    one.on("dialog", lambda dialog: said.append(dialog.message))
    yield one
    one.context.close()
    assert [text for text in said if "503" not in text] == []


def shoot(page: Any, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        picture = Path(folder).absolute() / f"flower-{name}.png"
        page.screenshot(path=picture)
        assert picture.stat().st_size <= 150_000


def test_a_supervisor_finds_a_shot_and_reads_why_it_waits(page: Any, flower: Flower) -> None:
    page.goto(f"{flower.url}/uploads")
    page.locator("#fh-query").fill("sh0007 beauty")
    page.locator("#fh-summary", has_text="100 found").wait_for()

    assert page.inner_text("#fh-summary") == (
        "100 found, 2 failed, 1 retrying, 3 pending, 93 located, 1 cancelled"
    )
    shoot(page, "uploads")
    page.get_by_role("row").filter(has_text="retrying").get_by_role("link").click()
    page.locator(".fh-timeline").wait_for()

    said = page.inner_text("main")
    assert "Why it waits: the file /mnt/show is missing on 3 nodes" in said
    assert "The next try is in" in said
    for event in ("asked for", "by ben on node", "taken in by a worker", "next try"):
        assert event in page.inner_text(".fh-timeline")
    shoot(page, "upload")
    page.locator("a[href*='/uploads/version/']").click()
    page.locator("#fh-summary", has_text="100 found").wait_for()
    # The tabs count the version, not the farm, and still do when one of them is chosen.
    for tab in ("failed 2", "located 93"):
        page.get_by_role("link", name=tab, exact=True).click()
        page.locator("#fh-summary", has_text=f"{tab.split()[1]} found").wait_for()
        page.get_by_role("link", name="pending 3", exact=True).wait_for()


def test_what_has_moved_since_is_asked_for_as_in_the_shell(page: Any, flower: Flower) -> None:
    page.goto(f"{flower.url}/uploads?q=sh0005+since:2d")
    page.locator("#fh-summary", has_text="100 found").wait_for()
    page.locator("#fh-query").fill("since:2200-01-01")
    page.locator("#fh-summary", has_text="0 found").wait_for()
    page.locator("#fh-query").fill("sh0005 Failed")
    said = "0 found; for uploads in a state, write state:failed"
    page.locator("#fh-summary", has_text=said).wait_for()

    page.locator("#fh-query").fill("sh0005 since:noon")
    why = "since:noon is no time: write 2h, 3d, yesterday, 22:00, or 2026-11-26T14:00"
    page.locator("#fh-summary", has_text=why).wait_for()
    page.get_by_text("What to search for").click()
    page.get_by_text("what has moved since").wait_for()


def test_what_is_late_is_counted_by_version(page: Any, flower: Flower) -> None:
    page.goto(f"{flower.url}/uploads")
    page.locator("#fh-query").fill("sh0006 since:2d")
    page.locator("#fh-summary", has_text="100 found").wait_for()
    page.get_by_role("link", name="by version").click()
    page.locator("#fh-summary", has_text="1 versions, 1 late").wait_for()

    row = page.locator("#fh-groups tbody tr")
    # The one that was cancelled is not waited for.
    assert "93 of 99" in row.inner_text()
    row.get_by_role("link").click()
    page.locator("#fh-summary", has_text="100 found").wait_for()
    page.goto(f"{flower.url}/uploads/summary")
    page.locator("#fh-groups tbody tr").nth(9).wait_for()


def test_by_keyboard_alone_a_failed_upload_is_retried(page: Any, flower: Flower) -> None:
    page.goto(f"{flower.url}/uploads")
    tab_to(page, "#fh-query")
    page.keyboard.type("sh0009")
    page.locator("#fh-summary", has_text="100 found").wait_for()
    tab_to(page, "#fh-uploads .fh-file")
    page.keyboard.press("Enter")
    page.locator(".badge", has_text="failed").wait_for()

    tab_to(page, "form[action$=retry] button")
    page.keyboard.press("Enter")
    page.locator(".badge", has_text="pending").wait_for()
    tab_to(page, "a[href='/farm']")
    page.keyboard.press("Enter")

    page.get_by_role("heading", name="What holds it back").wait_for()


def test_states_and_pages_are_chosen_on_the_server(page: Any, flower: Flower) -> None:
    page.goto(f"{flower.url}/uploads")
    page.get_by_role("link", name="failed").click()
    failed = flower.redis.zcard(keys.state_key("failed"))
    page.get_by_text(f"of {failed:,} uploads").wait_for()
    page.locator("#fh-uploads_next a, a#fh-uploads_next").first.click()
    page.get_by_text("Showing 26 to").wait_for()

    assert page.locator("#fh-uploads tbody tr").count() == min(failed - 25, 25)
    assert "state=failed" in page.url
    # A page of the list costs as much with a hundred times as many records.
    flower.redis.config_resetstat()
    page.goto(f"{flower.url}/uploads?state=located&start={RECORDS // 2}")
    calls = {name: row["calls"] for name, row in flower.redis.info("commandstats").items()}
    assert sum(calls.values()) < 60


def test_a_list_that_costs_much_is_asked_for_less_often(page: Any, flower: Flower) -> None:
    asked: list[float] = []

    def answer_late(route: Any) -> None:
        asked.append(time.monotonic())
        time.sleep(1)
        route.continue_()

    page.route("**/uploads/datatable*", answer_late)
    page.goto(f"{flower.url}/uploads?q=beauty")
    wait_until(lambda: page.wait_for_timeout(100) or asked)
    page.wait_for_timeout(8000)  # it would ask every three seconds

    assert len(asked) == 1


def test_retry_needs_the_token_of_the_page_and_is_logged(page: Any, flower: Flower) -> None:
    upload_id = flower.first("failed")
    for forged in ({}, {"_xsrf": "guessed"}):
        answer = page.request.post(f"{flower.url}/upload/{upload_id}/retry", form=forged)
        assert answer.status == 403
    assert flower.redis.hget(keys.upload_key(upload_id), "state") == "failed"

    page.goto(f"{flower.url}/upload/{upload_id}")
    page.get_by_role("button", name="Retry").click()
    page.locator(".badge", has_text="pending").first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator(".badge", has_text="cancelled").first.wait_for()

    assert flower.redis.hget(keys.upload_key(upload_id), "state") == "cancelled"
    log = flower.log.read_text()
    assert f"retry of upload {upload_id} by operator: it is pending" in log
    assert f"cancel of upload {upload_id} by operator: it is cancelled" in log


def test_a_node_is_seen_to_break_and_heal_without_a_reload(page: Any, flower: Flower) -> None:
    page.goto(f"{flower.url}/farm")
    page.get_by_text("no node is set aside").wait_for()
    assert page.locator(".fh-chart").count() == 4

    note = {"since": time.time() - 90, "what": "files", "error": "/mnt/show is empty"}
    flower.redis.hset(keys.PAUSED, NODE, json.dumps(note))
    why = "it cannot read files that other nodes read: /mnt/show is empty"
    page.locator(".alert", has_text=why).wait_for()
    flower.redis.hdel(keys.PAUSED, NODE)

    page.get_by_text("no node is set aside").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_page_fits_a_phone(browser: Any, flower: Flower, scheme: str) -> None:
    page = open_page(browser, flower, PHONE, color_scheme=scheme)
    waits = flower.first("retrying")
    for path in ("uploads", "uploads?q=sh0003", f"upload/{waits}", "farm"):
        assert page.goto(f"{flower.url}/{path}").status == 200
        page.locator("main h1").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        assert page.evaluate("document.documentElement.dataset.bsTheme") == scheme
        shoot(page, f"phone-{scheme}-{path.partition('/')[0].partition('?')[0]}")
    page.context.close()


def test_the_pages_are_read_without_javascript(browser: Any, flower: Flower) -> None:
    page = open_page(browser, flower, DESK, java_script_enabled=False)
    page.goto(f"{flower.url}/uploads")
    page.locator("#fh-query").fill("sh0004")
    page.get_by_role("button", name="Search").click()
    assert page.inner_text("#fh-summary").strip().startswith("100 found")
    assert page.locator("#fh-uploads tbody tr").count() == 25
    page.get_by_role("link", name="Next").click()
    assert page.locator("#fh-uploads tbody tr").count() == 25
    page.locator(".fh-file").first.click()
    assert "taken in by a worker" in page.inner_text(".fh-timeline")
    page.context.close()


#: What anyone who can name a file or write to Redis may have a page show.
HOSTILE = (
    "<script>window.taken = 1</script>",
    "\"'><img src=x onerror='window.taken = 2'>",
    "' onmouseover='window.taken = 3' x='",
    "javascript:window.taken=4",
    "</pre></td></textarea><svg onload=window.taken=5>",
    "{{ 7 * 7 }}{% raw %}",
)


@pytest.fixture
def hostile(flower: Flower) -> Iterator[list[str]]:
    """Uploads and a node with such names everywhere; the ids of the uploads."""
    redis, commands, now = flower.redis, Commands(Scripts(flower.redis, Codec([]))), time.time()
    ids = []
    for number, text in enumerate(HOSTILE):
        versions = (str(uuid.UUID(int=5000 + number)), text)
        for version in versions:
            target = Target.under_version(version, text, metadata=((text, text),))
            path = f"/mnt/evil/{text}.exr"
            request = UploadRequest(path, target, 1, 1, asked_host=text, asked_user=text)
            commands.enqueue([request])
            ids.append(request.upload_id)
            odd = {"error": text, "error_kind": text, "worker": text, "warning": text, "jobs": text}
            redis.hset(keys.upload_key(ids[-1]), mapping={**odd, "version": text, "host": text})
        redis.zadd(keys.ALIVE, {f"{text} w1@{text}": now + 3600})
        redis.zadd(keys.WORKERS, {f"w1@{text}": now + 3600})
        note = {"since": now - 90, "what": "files", "error": text}
        redis.hset(keys.PAUSED, f"w1@{text}", json.dumps(note))
        redis.hset(
            keys.gate_key("ftrack"), mapping={"until": now + 3600, "why": text, "error": text}
        )
    yield ids
    redis.delete(keys.PAUSED, keys.gate_key("ftrack"))
    for text in HOSTILE:
        redis.zrem(keys.ALIVE, f"{text} w1@{text}")
        redis.zrem(keys.WORKERS, f"w1@{text}")


def test_no_name_becomes_part_of_a_page(page: Any, flower: Flower, hostile: list[str]) -> None:
    """The fixture page fails by each script that runs, or that the browser refuses to run."""
    at_versions = [f"uploads/version/{uuid.UUID(int=5000 + n)}" for n in range(len(HOSTILE))]
    at_queries = [f"uploads?{urlencode({'q': text})}" for text in ("evil", *HOSTILE)]
    at_uploads = [f"upload/{upload_id}" for upload_id in hostile]
    seen = ""
    for path in (*at_queries, *at_uploads, *at_versions, "farm"):
        page.goto(f"{flower.url}/{path}")
        page.locator("main h1").wait_for()
        if path.startswith("uploads"):
            page.locator("#fh-summary", has_text="found").wait_for()
        for element in page.locator("main a, main td").all()[:60]:
            element.dispatch_event("mouseover")
        assert page.evaluate("window.taken") is None, path
        links = page.eval_on_selector_all("a[href]", "found => found.map(one => one.protocol)")
        assert set(links) <= {"http:", "https:"}, path
        seen += page.inner_text("main")
    for text in HOSTILE:
        assert text in seen


def test_an_action_is_refused_from_elsewhere_and_by_a_link(page: Any, flower: Flower) -> None:
    upload_id = flower.first("failed")
    page.goto(f"{flower.url}/upload/{upload_id}")
    token = page.locator("input[name=_xsrf]").first.get_attribute("value")
    for action in ("retry", "cancel"):
        url = f"{flower.url}/upload/{upload_id}/{action}"
        elsewhere = {"Origin": "https://elsewhere.example.com"}
        assert page.request.get(f"{url}?_xsrf={token}").status == 405
        answer = page.request.post(url, form={"_xsrf": token}, headers=elsewhere)
        assert answer.status == 403
    assert flower.redis.hget(keys.upload_key(upload_id), "state") == "failed"
    url = f"{flower.url}/upload/{upload_id}/retry"
    assert page.request.post(url, form={"_xsrf": token}, headers={"Origin": flower.url}).ok
    assert flower.redis.hget(keys.upload_key(upload_id), "state") == "pending"


def test_a_redis_that_is_away_is_said_on_the_page(page: Any, flower: Flower) -> None:
    flower.redis.config_set("maxclients", 1)
    try:
        flower.redis.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: page.goto(f"{flower.url}/farm").status == 503)
        assert "Redis" in page.inner_text("[role=alert]")
    finally:
        flower.redis.config_set("maxclients", 10000)
