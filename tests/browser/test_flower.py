"""Flower's pages as an operator sees them, with real workers and a real browser.

SCREENSHOTS=docs/img in the environment takes the pictures of docs/flower.md again.
"""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tasks.records.states import STAGES
from tests.browser.axe import serious_findings
from tests.browser.keyboard import tab_to
from tests.farm import BIN, Farm, wait_until
from tests.sandbox import Sandbox, seed
from tests.sandbox.process import CHECKOUT, Child, accepts, free_ports

# The time of the first test includes the installation of Chromium.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

LOGIN = "operator:a-password-of-the-test"
REFUSAL = "<Error><Code>EntityTooLarge</Code></Error>"  # S3's form
VIEW, PHONE = {"width": 1600, "height": 520}, {"width": 390, "height": 844}

Shoot = Callable[[Any, str], None]


@pytest.fixture(scope="module")
def farm(running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with Farm(running_sandbox, tmp_path_factory.mktemp("farm")) as one:
        yield one


class Flower:
    """Flower with the settings of deploy/, and a login."""

    def __init__(self, farm: Farm, folder: Path, **settings: str) -> None:
        [self.port] = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "flower.log"
        logins = folder / "logins"
        logins.write_text(f"{LOGIN}\n")
        ours = {"FLOWER_BASIC_AUTH_FILE": str(logins), "FLOWER_DB": str(folder / "flower")}
        config = CHECKOUT / "deploy" / "flower" / "flowerconfig.py"
        self._child = Child(
            "flower",
            [BIN / "celery", "-A", "workers", "flower", f"--conf={config}", f"--port={self.port}"],
            self.log,
            env={**farm.env, **ours, **settings},
        )

    def __enter__(self) -> Self:
        self._child.wait_ready(lambda: accepts(self.port))
        # It may respond before it listens to events: then it would miss the first tasks.
        wait_until(lambda: "w1@" in self.get("/workers"))
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop(20)

    def get(self, path: str) -> str:
        request = urllib.request.Request(f"{self.url}{path}")
        request.add_header("Authorization", f"Basic {base64.b64encode(LOGIN.encode()).decode()}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def flower_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flower")


@pytest.fixture(scope="module")
def flower(farm: Farm, flower_folder: Path) -> Iterator[Flower]:
    """Flower after ten uploads: two have failed, the others are located."""
    with Flower(farm, flower_folder) as one:
        for number in range(8):
            _located(farm, f"sh010_beauty_v003.{1001 + number}.exr")
        farm.sandbox.faults.add("store", "status", 400, method="PUT", body=REFUSAL)
        refused = _enqueue(farm, "sh020_beauty_v001.1001.exr")
        farm.wait_state([refused], "failed")
        farm.sandbox.faults.clear()
        empty = farm.make_file("sh030_beauty_v001.1001.exr", 10, folder="render")
        away = farm.enqueue(empty, "--component-id", "00000000-0000-4000-8000-000000000000")
        farm.wait_state([away[0]["upload_id"]], "failed")
        wait_until(lambda: one.get("/api/tasks?state=FAILURE").count('"FAILURE"') == 2)
        yield one


def _enqueue(farm: Farm, name: str) -> str:
    path = farm.make_file(name, 200_000, folder="render")
    [upload] = farm.enqueue(path, "--version-id", seed.VERSION_ID)
    return str(upload["upload_id"])


def _located(farm: Farm, name: str) -> None:
    farm.wait_located([_enqueue(farm, name)])


def _open(browser: Any, login: str = LOGIN) -> Any:
    user, _, password = login.partition(":")
    credentials = {"username": user, "password": password}
    return browser.new_context(http_credentials=credentials, viewport=VIEW).new_page()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    one = _open(browser)
    said: list[str] = []
    one.on("console", lambda message: said.append(message.text))
    yield one
    one.context.close()
    # workers/web/protection.py: no inline scripts, and no files of other servers.
    assert [text for text in said if "Content Security Policy" in text] == []


@pytest.fixture(scope="module")
def shoot(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    named = os.environ.get("SCREENSHOTS")
    folder = Path(named).absolute() if named else tmp_path_factory.mktemp("pictures")

    def take(page: Any, name: str) -> None:
        picture = folder / f"flower-{name}.png"
        page.screenshot(path=picture)
        assert picture.stat().st_size <= 150_000

    return take


def _rows(page: Any, table: str, count: int) -> list[str]:
    """Return the texts of a table's rows once it has at least *count* rows."""
    rows = page.locator(f"{table} tbody tr")
    rows.nth(count - 1).wait_for()
    return [str(text) for text in rows.all_inner_texts()]


def test_flower_refuses_visitors_without_the_password(browser: Any, flower: Flower) -> None:
    for login in ("operator:guessed", "somebody:a-password-of-the-test"):
        page = _open(browser, login)
        assert page.goto(f"{flower.url}/tasks").status == 401
        assert "farmhaul" not in page.content()
        page.context.close()


def test_the_workers_are_listed_with_their_tasks(page: Any, flower: Flower, shoot: Shoot) -> None:
    assert page.goto(f"{flower.url}/workers").status == 200
    page.get_by_text("Online", exact=False).first.wait_for()

    workers = _rows(page, "#workers-table", 2)
    assert [re.match(r"\s*(w\d)@", row)[1] for row in sorted(workers)] == ["w1", "w2"]  # type: ignore[index]
    page.locator("#workers-failed", has_text="2").wait_for()
    shoot(page, "workers")


def test_tasks_are_listed_by_stage_with_their_files(
    page: Any, flower: Flower, shoot: Shoot
) -> None:
    page.goto(f"{flower.url}/tasks")
    rows = _rows(page, "#tasks-table", 10)

    table = "\n".join(rows)
    assert re.search(r"sh0[123]0_beauty_v00\d\.\d+\.exr, \d+\.\d kB", table)
    assert {stage for stage in STAGES if f"farmhaul.{stage}" in table} == {*STAGES}
    # Nothing is cut off at the right: the last column fits into the window.
    edge = page.locator("#tasks-table thead th").last.bounding_box()
    assert edge["x"] + edge["width"] <= VIEW["width"]
    shoot(page, "tasks")


def test_a_download_is_found_by_its_id(farm: Farm, flower: Flower) -> None:
    path = farm.make_file("sh040_beauty_v001.exr", 2_000, folder="render")
    [upload] = farm.enqueue(path, "--version-id", seed.VERSION_ID)
    farm.wait_located([upload["upload_id"]])
    out = farm.make_file("marker", 1, folder="fetched").parent
    done = farm.cli("fetch", upload["component_id"], "--to", out, "--enqueue")
    task_id = json.loads(done.stdout)["task_id"]

    wait_until(lambda: "A download, fetched, 100 %" in flower.get(f"/uploads?q={task_id}"))
    assert f"farmhaul watch {task_id}" in flower.get(f"/uploads?q={task_id}")


def test_a_failed_task_shows_its_error(page: Any, flower: Flower, shoot: Shoot) -> None:
    page.goto(f"{flower.url}/tasks")
    _rows(page, "#tasks-table", 10)
    page.get_by_role("button", name="Failed").click()
    # Not wait_for_function, which the pages' policy refuses: it evaluates a text.
    wait_until(lambda: page.locator("#tasks-table tbody tr").count() == 2)
    refused = page.locator("#tasks-table tbody tr", has_text="farmhaul.put_file")
    refused.locator("a[href*='/task/']").first.click()

    page.locator("#task-page").wait_for()
    said = page.inner_text("#task-page")
    assert "FAILURE" in said
    assert "sh020_beauty_v001.1001.exr, 200.0 kB" in said
    assert "400" in said
    assert "EntityTooLarge" in said
    # The error ends with the next step; a window of this height shows all of it at once.
    page.set_viewport_size({**VIEW, "height": 900})
    why = page.locator("#task-page", has_text="then: farmhaul retry").get_by_text("EntityTooLarge")
    reason = why.first.bounding_box()
    assert reason["y"] + reason["height"] <= 900
    shoot(page, "failure")


def test_no_page_holds_a_secret_or_offers_control(page: Any, flower: Flower, farm: Farm) -> None:
    tasks = re.findall(r'"uuid": "([0-9a-f-]{36})"', flower.get("/api/tasks"))
    workers = set(re.findall(r'"(w\d@[^"]+)"', flower.get("/api/workers?refresh=1")))
    assert len(tasks) > 30
    assert len(workers) == 2
    pages = ["workers", "tasks", "broker", *(f"task/{task_id}" for task_id in tasks)]
    pages += [f"worker/{name}" for name in workers]
    for path in pages:
        assert page.goto(f"{flower.url}/{path}").status == 200, path
        text = page.content()
        assert "X-Amz-Signature" not in text, path
        assert seed.API_KEY not in text, path
        assert str(farm.sandbox.storage) not in text, path
    assert not page.locator("#worker-pool-shrink").count()


def test_a_batch_that_waits_is_no_success_and_leads_to_its_uploads(
    page: Any, flower: Flower, farm: Farm
) -> None:
    path = farm.make_file("sh050_beauty_v001.1001.exr", 200_000, folder="render")
    with farm.frozen():
        [upload] = farm.enqueue(path, "--version-id", seed.VERSION_ID)
        path.unlink()
    farm.wait_state([upload["upload_id"]], "retrying")

    rows = page.locator("#tasks-table tbody tr", has_text="sh050_beauty")
    waiting = rows.filter(has_text="WAITING")
    wait_until(lambda: page.goto(f"{flower.url}/tasks") and waiting.count())
    assert not rows.filter(has_text="SUCCESS").count()
    waiting.first.locator("a[href*='/task/']").first.click()
    page.locator("#task-page", has_text="WAITING").wait_for()
    page.get_by_role("link", name="uploads that this chain carried").click()
    page.locator("#fh-uploads").get_by_role("link", name="sh050_beauty_v001.1001.exr").click()

    page.get_by_role("heading", name="Celery tasks").wait_for()
    assert upload["upload_id"] in page.url
    page.get_by_role("link", name="compute_checksum").first.click()
    page.locator("#task-page", has_text="sh050_beauty").wait_for()
    assert farm.cli("cancel", upload["upload_id"]).returncode == 0


def test_by_keyboard_alone_a_task_leads_to_its_uploads(page: Any, flower: Flower) -> None:
    page.goto(f"{flower.url}/tasks")
    _rows(page, "#tasks-table", 10)
    tab_to(page, "#tasks-table a[href*='/task/']")
    page.keyboard.press("Enter")
    page.locator("#task-page").wait_for()

    tab_to(page, "#task-page a[href*='/uploads']")
    page.keyboard.press("Enter")

    page.locator("#fh-uploads .fh-file").first.wait_for()


def _each_page(flower: Flower) -> dict[str, str]:
    """Return the paths of a worker's page, and of the pages of tasks in each state, by a name."""
    tasks = json.loads(flower.get("/api/tasks?limit=1000"))
    by_state = {str(task["state"]).lower(): f"task/{one}" for one, task in tasks.items()}
    assert {"failure", "success"} <= {*by_state}
    name = re.findall(r'"(w\d@[^"]+)"', flower.get("/api/workers?refresh=1"))[0]
    return by_state | {"worker": f"worker/{name}", "workers": "workers", "tasks": "tasks"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_pages_of_celery(
    browser: Any, flower: Flower, scheme: str
) -> None:
    user, _, password = LOGIN.partition(":")
    credentials = {"username": user, "password": password}
    options = {"color_scheme": scheme, "bypass_csp": True, "http_credentials": credentials}
    lines = []
    for view in (VIEW, PHONE):
        page = browser.new_context(viewport=view, **options).new_page()
        page.goto(flower.url)
        for name, path in _each_page(flower).items():
            assert page.goto(f"{flower.url}/{path}").status == 200, path
            page.locator("main").wait_for()
            if view is PHONE:
                wide = page.evaluate("document.documentElement.scrollWidth")
                lines += [f"{name} is {wide} wide"] if wide > PHONE["width"] else []
            lines += [f"{name}: {line}" for line in serious_findings(page)]
        page.context.close()
    assert not lines, "\n".join(lines)


def test_the_list_of_tasks_survives_a_restart(browser: Any, farm: Farm, tmp_path: Path) -> None:
    with Flower(farm, tmp_path) as before:
        _located(farm, "sh040_beauty_v001.1001.exr")
        wait_until(lambda: before.get("/api/tasks").count('"SUCCESS"') >= len(STAGES))
    with Flower(farm, tmp_path) as after:
        page = _open(browser)
        page.goto(f"{after.url}/tasks")
        assert any("sh040_beauty" in row for row in _rows(page, "#tasks-table", len(STAGES)))
        page.context.close()


def test_with_control_a_worker_shuts_down_and_keeps_its_pool(
    page: Any, farm: Farm, tmp_path: Path, shoot: Shoot
) -> None:
    first, second = farm.workers
    with Flower(farm, tmp_path, FLOWER_READ_ONLY="false") as flower:
        page.on("dialog", lambda dialog: dialog.accept())
        [name] = set(re.findall(r'"(w2@[^"]+)"', flower.get("/api/workers?refresh=1")))
        # A browser sends its login to pages below the one that asked for it, and Flower's API
        # asks for none.
        page.goto(flower.url)
        page.goto(f"{flower.url}/worker/{name}")
        page.locator("#worker-pool-shrink").wait_for()
        shoot(page, "worker")
        pool = second.pool_pids()
        page.locator("#worker-pool-shrink").click()
        page.locator(".toast").first.wait_for()
        assert "Failed to shrink" in page.locator(".toast").first.inner_text()
        assert second.pool_pids() == pool
        page.locator("#worker-group").click()
        page.locator("#worker-shutdown").click()
        wait_until(lambda: not second.alive)

    assert second.returncode == 0
    assert first.alive
    _located(farm, "sh050_beauty_v001.1001.exr")
    assert "is not sealed" not in first.log_text()
