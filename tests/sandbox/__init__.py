"""The services of a farm on one machine: ftrack, its media store and Redis, and their faults."""

from .clients import FaultsClient, FtrackClient, RefusedError, StoreClient
from .redis_server import RedisServer
from .whole import Sandbox

__all__ = [
    "FaultsClient",
    "FtrackClient",
    "RedisServer",
    "RefusedError",
    "Sandbox",
    "StoreClient",
]
