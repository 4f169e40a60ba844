"""An application in this process that sends remote control, as Flower or an operator's has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import celery
from kombu.serialization import unregister
from kombu.transport import _transport_cache

from tasks.config.sealing import SERIALIZER, Codec
from tasks.config.settings import Settings


@contextmanager
def controller(env: Mapping[str, str]) -> Iterator[celery.Celery]:
    """Yield an application with the settings of an environment, among them its secret key."""
    # Imported late: importing it reads this process' environment.
    from workers.broker import seal
    from workers.config import make_config

    # As in a process that has not connected yet: tests before may have used kombu's own.
    _transport_cache.clear()
    with celery.Celery(set_as_current=False) as app:
        app.conf.update(make_config(Settings.from_environment(env)))
        try:
            yield app
        finally:
            seal.use(Codec(()))
            unregister(SERIALIZER)
