"""What is wrong with Redis, in words that the command line and doctor share."""

from __future__ import annotations

import redis
import redis.sentinel


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
