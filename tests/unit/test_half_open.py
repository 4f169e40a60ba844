"""Half-open connections are noticed soon, also where no event loop runs."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from celery import Celery
from celery.events import EventReceiver

from tasks.config.redis_client import worker_redis
from tasks.config.settings import Settings
from tests.farm import wait_until
from tests.helpers.silent_proxy import silent_proxy
from tests.sandbox import RedisServer
from workers.broker import transport
from workers.config import make_config


def test_flower_hears_events_again_after_its_connection_went_silent(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HEALTH_CHECK_S", 0.2)
    heard: list[Any] = []
    with silent_proxy(redis_server.port) as proxy:
        flower = app_at(f"redis://127.0.0.1:{proxy.port}/0")
        with (
            flower.connection() as connection,
            app_at(redis_server.url).events.default_dispatcher() as worker,
        ):
            receiver = EventReceiver(connection, handlers={"*": heard.append}, app=flower)
            listening = threading.Thread(target=receiver.capture, kwargs={"wakeup": False})
            listening.start()

            def hears() -> bool:
                worker.send("worker-heartbeat")
                return bool(heard)

            try:
                wait_until(hears)
                assert proxy.silence() > 0
                time.sleep(0.1)  # what is under way
                heard.clear()
                wait_until(hears)
            finally:
                receiver.should_stop = True
                listening.join()


def test_if_one_connection_gets_no_answer_the_others_are_made_anew(
    redis_server: RedisServer,
) -> None:
    answer_s = 1.0
    with silent_proxy(redis_server.port) as proxy:
        settings = Settings(f"redis://127.0.0.1:{proxy.port}/0")
        with worker_redis(settings, answer_s) as one, worker_redis(settings, answer_s) as other:
            assert one.ping()
            assert other.ping()
            assert proxy.silence() == 2
            assert one.ping(), "it tries again"
            begun = time.monotonic()

            assert other.ping()

            assert time.monotonic() - begun < answer_s


def app_at(url: str) -> Celery:
    app = Celery(set_as_current=False)
    config = make_config(Settings(url))
    config["broker_transport_options"]["health_check_interval"] = 0.1
    app.config_from_object(config)
    return app
