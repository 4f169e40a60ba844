"""An application in this process, with settings of its own: an operator's, or a worker's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import celery
from kombu.serialization import registry
from kombu.transport import TRANSPORT_ALIASES, _transport_cache

from tasks.config.settings import Settings

#: What kombu keeps for the whole process, and ``make_config`` changes.
_KEPT = (
    TRANSPORT_ALIASES,
    _transport_cache,
    registry._encoders,
    registry._decoders,
    registry.type_to_name,
    registry.name_to_type,
)


@contextmanager
def controller(env: Mapping[str, str]) -> Iterator[celery.Celery]:
    """Yield an application with the settings of an environment, among them its secret key.

    Then everything is as before, so that it is no part of another application of this process.
    """
    # Imported late: importing it reads this process' environment.
    from workers.broker import seal
    from workers.config import make_config

    with ExitStack() as before:
        for kept in _KEPT:
            before.enter_context(patch.dict(kept))
        before.enter_context(patch.object(seal, "_codec", seal._codec))
        # As in a process that has not connected yet: tests before may have used kombu's own.
        _transport_cache.clear()
        app = before.enter_context(celery.Celery(set_as_current=False))
        app.conf.update(make_config(Settings.from_environment(env)))
        yield app
