"""Whether Redis is a Redis Cluster, whose keys no script could use together."""

from __future__ import annotations

import redis

from tasks.config.environment import SettingsError
from tasks.config.redis_url import parse_redis_url
from tasks.config.settings import Settings
from tasks.intake.inbox import INBOX
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.keys import TAKING

#: What only a cluster answers.
CLUSTER_ERRORS = (
    redis.exceptions.ClusterCrossSlotError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MovedError,
)


def is_cluster(client: redis.Redis) -> bool:
    """Return whether a server is a Redis Cluster, as far as it answers and this user may ask."""
    try:
        # Two keys in different slots, which a cluster refuses to look up together.
        client.exists(INBOX, TAKING)
    except CLUSTER_ERRORS as error:
        # redis-py has MASTERDOWN, of a replica that has lost its master, as a kind of CLUSTERDOWN.
        return not isinstance(error, redis.exceptions.MasterDownError)
    except redis.RedisError:
        pass
    return False


def check_no_cluster(settings: Settings) -> None:
    """Check that Redis is no cluster; one that does not answer is waited for later.

    Raises:
        SettingsError: it is one.
    """
    with fail_fast_redis(settings) as client:
        if is_cluster(client):
            where = parse_redis_url(settings.redis_url).where
            raise SettingsError(
                f"FARMHAUL_REDIS_URL: {where} is a Redis Cluster, which farmhaul does not support; "
                "use a single Redis, or a master with sentinels"
            )
