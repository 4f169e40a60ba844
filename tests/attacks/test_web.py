"""A visitor of Flower without a login, and a page elsewhere that frames or scripts Flower's."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
import uuid
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import redis
from flower.urls import handlers
from tornado.web import HTTPError

from tests.helpers.flower import LOGIN, Flower
from tests.sandbox import RedisServer
from workers.web import protection
from workers.web.protection import POLICY

#: What anyone may have: whether Flower runs, its scripts and styles, where to log in and out.
OPEN = ("/healthcheck", "/static/", "/login", "/logout")
ROUTES = sorted({one[0] if isinstance(one, tuple) else one.regex.pattern for one in handlers})


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    folder = tmp_path_factory.mktemp("flower")
    server = RedisServer(folder / "redis")
    server.launch()
    running = Flower(folder, server.url)
    yield running
    running.child.kill()
    server.stop()


@pytest.fixture(scope="module")
def open_flower(flower: Flower, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    folder = tmp_path_factory.mktemp("open")
    env = {"FARMHAUL_FLOWER_OPEN": "yes", "FLOWER_BASIC_AUTH": "", "FLOWER_READ_ONLY": "false"}
    env["FLOWER_UNAUTHENTICATED_API"] = "true"
    running = Flower(folder, flower.redis_url, **env)
    yield running
    running.child.kill()


def paths() -> list[str]:
    """Return a path for each route of Flower that needs a login."""
    plain = (re.sub(r"\(.*\)", "x", route.rstrip("$?")) for route in ROUTES)
    return [path for path in plain if path.startswith("/") and not path.startswith(OPEN)]


def test_flower_shows_a_visitor_without_a_login_nothing(flower: Flower) -> None:
    found = {}
    for path in paths():
        for method in ("GET", "POST"):
            status, _, text = flower.get(path, method=method)
            found[method, path] = (status, "farmhaul" in text)

    assert len(found) > 50
    # 405 is for a method that the page has not got, 404 for the page after a logout.
    allowed = {(401, False), (405, False)}
    assert {key: got for key, got in found.items() if got not in allowed} == {}
    assert flower.get("/metrics", LOGIN.encode())[0] == 200


@pytest.mark.parametrize("login", ["ö:ü", "operator:\U0001f511", LOGIN[:-1], "operator:\udcff"])
def test_a_login_outside_ascii_is_refused_as_any_other(flower: Flower, login: str) -> None:
    for path in ("/workers", "/metrics", "/api/workers"):
        assert flower.get(path, login.encode("utf-8", "surrogateescape"))[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example.com"},
        {"Host": "rebound.example.com:5555", "Origin": "http://rebound.example.com:5555"},
        {"Host": "127.0.0.1.example.com"},
        {"Host": "localhost@example.com"},
        {"Host": "[::1].example.com"},
        {"Host": ""},
        {"Origin": "http://example.com"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_an_open_flower_answers_no_page_elsewhere(
    open_flower: Flower, headers: dict[str, str]
) -> None:
    """A name of theirs leads to loopback, or their page sends a form."""
    assert open_flower.get("/workers")[0] == open_flower.get("/api/workers")[0] == 200
    upload = f"/upload/{uuid.uuid4()}"
    for method, path in (
        *(("GET", path) for path in ("/workers", "/metrics", "/uploads", "/farm", upload)),
        *(("GET", path) for path in ("/api/workers", "/api/tasks", "/api/queues/length")),
        *(("POST", f"{upload}/{action}") for action in ("retry", "cancel")),
        ("POST", "/api/worker/shutdown/celery@node7"),
    ):
        status, _, text = open_flower.get(path, method=method, headers=headers)
        assert status in {400, 401, 403}, (method, path)
        assert "farmhaul" not in text


def test_no_page_elsewhere_can_frame_or_script_a_page_of_flower(flower: Flower) -> None:
    for path in ("/workers", "/tasks", "/broker", "/metrics", "/static/js/flower.js", "/no-page"):
        _, headers, text = flower.get(path, LOGIN.encode())
        policy = dict(
            rule.split(" ", 1) for rule in str(headers["Content-Security-Policy"]).split("; ")
        )
        assert policy == POLICY
        assert policy["frame-ancestors"] == policy["default-src"] == "'none'"
        assert "unsafe" not in policy["script-src"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        # What Flower has itself is named by its digest; any other would not run.
        for script in re.findall(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", text, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy["script-src"]
        assert not re.search(r"<[^>]+\son\w+=", text)


def test_whoever_guesses_logins_is_answered_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections they come over; who logs in waits for nobody."""
    waiting: list[float] = []
    most = 0

    async def sleep(seconds: float) -> None:
        nonlocal most
        waiting.append(seconds)
        most = max(most, len(waiting))
        await real_sleep(0)
        waiting.pop()

    real_sleep = asyncio.sleep
    monkeypatch.setattr("workers.web.protection.asyncio.sleep", sleep)
    monkeypatch.setattr(protection, "_guessing", asyncio.Lock())

    class Page:
        @property
        def current_user(self) -> str:
            raise HTTPError(401)

    async def guess() -> list[object]:
        guesses = [protection._slow_down_guesses(Page()) for _ in range(20)]
        await protection._slow_down_guesses(SimpleNamespace(current_user="ada"))
        assert most == 0
        return await asyncio.gather(*guesses, return_exceptions=True)

    assert all(isinstance(one, HTTPError) for one in asyncio.run(guess()))
    assert most == 1


def test_nodes_that_somebody_invents_do_not_fill_the_page(flower: Flower) -> None:
    with redis.Redis.from_url(flower.redis_url) as client:
        nodes = {f"{number % 7} w1@node{number}": time.time() + 20 for number in range(20_000)}
        client.zadd("farmhaul:alive", nodes)
        hosts = {f"h{number}" for number in range(2000)}
        client.sadd("farmhaul:hosts", *hosts)
        for host in hosts:
            client.zadd(f"farmhaul:pending:{host}", {"x": 1})

        status, _, page = flower.get("/farm", LOGIN.encode())

        client.flushall()
    assert status == 200
    assert "Nodes: 20000" in page
    assert "and 17122 more nodes have faults" in page
    assert "and 19900 more" in page
    assert len(page) < 100_000
