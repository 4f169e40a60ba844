"""The checks of ``farmhaul doctor``: each reads one thing that uploads need, and yields findings.

A fault keeps uploads from being located, or may lose them; a warning needs a person's attention.
No check may change the farm: it may only write a file in the spool and a list in Redis that it
removes at once, and what ``--put`` sends.
"""

from __future__ import annotations

from collections.abc import Iterator

import redis

from tasks.config.environment import SettingsError
from tasks.config.settings import Settings
from tasks.records.cluster import is_cluster
from tasks.records.fail_fast import fail_fast_redis
from workers.doctor import farm, node, redis_server
from workers.doctor.finding import Farm, Finding
from workers.doctor.ftrack import ftrack
from workers.wording import NO_SELECT, redis_problem


def diagnose(*, put: bool = False) -> Iterator[Finding]:
    """Check from this node what uploads need; with ``put``, also send the store a few bytes."""
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        for line in str(error).splitlines():
            step = "correct the variable; docs/configuration.md describes its form"
            yield Finding("fault", "settings", line, step)
        return
    yield Finding("ok", "settings", "the environment is valid")
    yield from node.roots(settings)
    yield from node.spool(settings)
    yield from node.internals()
    yield from ftrack(settings, put=put)
    yield from _ask_redis(settings)


def _ask_redis(settings: Settings) -> Iterator[Finding]:
    """Run the checks that ask Redis; if it does not answer, yield that alone."""
    client = fail_fast_redis(settings)
    try:
        client.ping()
    except redis.exceptions.NoPermissionError as error:
        if NO_SELECT in str(error):
            yield _redis_fault("redis", error)
            return
        says = "answers; not checked: this Redis user may only push requests"
        yield Finding("warning", "redis", says, "run doctor as the Redis user of an operator")
        return
    except redis.RedisError as error:
        yield _redis_fault("redis", error)
        return
    if is_cluster(client):
        says = "this is a Redis Cluster, which farmhaul does not support"
        yield Finding("fault", "redis", says, "use a single Redis, or a master with sentinels")
        return
    for name, check in {"redis": redis_server.server, **farm.CHECKS}.items():
        try:
            yield from check(Farm(settings, client))
        except redis.exceptions.NoPermissionError:
            step = "run doctor as a Redis user who may read farmhaul:* and use INFO"
            yield Finding("warning", name, "not checked: this Redis user may not read it", step)
        except redis.RedisError as error:
            yield _redis_fault(name, error)


def _redis_fault(name: str, error: redis.RedisError) -> Finding:
    says, _, step = redis_problem(error).partition("; ")
    return Finding("fault", name, says, step)
