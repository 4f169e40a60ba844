"""What ``farmhaul doctor`` looks at: each thing an upload needs, and the next step where it lacks.

It only reads, but for a file in the spool and a list in Redis that are removed at once, and for
what ``--put`` sends.
A fault is what keeps uploads from being located, or may lose them; a warning is what somebody
should look at.
"""

from __future__ import annotations

from collections.abc import Iterator

import redis

from tasks.config.redis_client import fail_fast_redis
from tasks.config.settings import Settings, SettingsError
from workers.doctor import farm, node
from workers.doctor.finding import Finding
from workers.doctor.ftrack import ftrack
from workers.doctor.redis_server import server
from workers.wording import redis_trouble


def diagnose(*, put: bool = False) -> Iterator[Finding]:
    """Look at all that an upload needs, from this node; with ``put``, at the media store too."""
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        for line in str(error).splitlines():
            step = "correct the variable; docs/configuration.md tells its form"
            yield Finding("fault", "settings", line, step)
        return
    yield Finding("ok", "settings", "the environment makes sense")
    yield from _examine(settings, put=put)


def _examine(settings: Settings, *, put: bool) -> Iterator[Finding]:
    """Look at everything; what Redis tells only where it can be asked."""
    yield from node.roots(settings)
    yield from node.spool(settings)
    yield from node.internals()
    yield from ftrack(settings, put=put)
    client = fail_fast_redis(settings)
    try:
        client.ping()
    except redis.RedisError as error:
        says, _, step = redis_trouble(error).partition("; ")
        yield Finding("fault", "redis", says, step)
        return
    for what, check in {"redis": server, **farm.CHECKS}.items():
        try:
            yield from check(settings, client)
        except redis.exceptions.NoPermissionError:
            step = "run doctor with a Redis user who may read farmhaul:* and use INFO"
            yield Finding("warning", what, "not looked at: our Redis user may not", step)
        except redis.RedisError as error:
            says, _, step = redis_trouble(error).partition("; ")
            yield Finding("fault", what, says, step)
