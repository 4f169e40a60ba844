"""Sentences and figures that the command line and doctor share."""

from __future__ import annotations

import redis
import redis.sentinel


def size(size_bytes: int | None) -> str:
    """A size as people write it; unknown is a question mark."""
    if size_bytes is None:
        return "?"
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 the step of the units
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def redis_trouble(error: redis.RedisError) -> str:
    """Say what is wrong with Redis, without its URL, which may hold a password."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return f"Redis refuses us: {error}; check the user and password in FARMHAUL_REDIS_URL"
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        return "no sentinel names a master; check FARMHAUL_REDIS_URL, and that one is elected"
    if isinstance(error, redis.OutOfMemoryError):
        return "Redis is full and takes no more uploads; give it memory, or wait till some are done"
    return f"Redis is not reachable ({error}); check FARMHAUL_REDIS_URL, and that it runs"
