"""Wording that the command line and doctor share: sizes, and what is wrong with Redis."""

from __future__ import annotations

import redis
import redis.sentinel


def size(size_bytes: int | None) -> str:
    """Return a size in decimal units, such as ``12.3 MB``; ``?`` if it is unknown."""
    if size_bytes is None:
        return "?"
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 the step of the units
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def redis_problem(error: redis.RedisError) -> str:
    """Return what is wrong and, after ``; ``, what to do.

    It does not contain the URL, which may hold a password.
    """
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return f"Redis refuses access: {error}; check the user and password in FARMHAUL_REDIS_URL"
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        return "no sentinel knows a master; check FARMHAUL_REDIS_URL, and that a master is elected"
    if isinstance(error, redis.OutOfMemoryError):
        return "Redis is full and accepts no uploads; raise maxmemory, or wait until some finish"
    return f"Redis is not reachable ({error}); check FARMHAUL_REDIS_URL, and that Redis is running"
