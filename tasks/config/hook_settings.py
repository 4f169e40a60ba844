"""The part of the environment that a hook reads. ``settings.py`` has what workers read."""

from __future__ import annotations

import os

from tasks.config.consistency import check_together
from tasks.config.environment import (
    Reader,
    absolute_path,
    path_map,
    secret_keys,
    storage_roots,
)
from tasks.config.redis_url import PORT, RedisUrl, parse_redis_url
from tasks.transfer.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Not parsed: that would take time at each start of a hook.
REDIS_URL = RedisUrl("redis", (("localhost", PORT),))


class HookSettings(NamedTuple):
    """Everything that a hook reads from its environment; see ``docs/configuration.md``.

    ``storage_roots`` are as the user wrote them, and may lead through symlinks. ``hook_keys`` sign
    requests; the first one is used. ``may_read`` tells whether this node may have the right to
    read records: with only a hook key it has none.
    """

    redis_url: RedisUrl
    storage_roots: tuple[str, ...] = ()
    path_map: tuple[tuple[str, str], ...] = ()
    hook_keys: tuple[bytes, ...] = ()
    may_read: bool = True
    spool: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> HookSettings:
        """Read the environment.

        Raises:
            SettingsError: variables are not valid; the text names all of them.
        """
        read = Reader(environment)
        redis_url = read.value("FARMHAUL_REDIS_URL", parse_redis_url, REDIS_URL)
        roots: tuple[str, ...] = read.value("FARMHAUL_STORAGE_ROOTS", storage_roots, ())
        pairs: tuple[tuple[str, str], ...] = read.value("FARMHAUL_PATH_MAP", path_map, ())
        secret: tuple[str, ...] = read.value("FARMHAUL_SECRET_KEY", secret_keys, ())
        given: tuple[bytes, ...] = read.value("FARMHAUL_HOOK_KEY", _hook_keys, ())
        spool = read.value("FARMHAUL_SPOOL", absolute_path, "")
        check_together(read, redis_url, secret, given)
        keys = tuple(map(_derived, secret)) or given
        return cls(redis_url, roots, pairs, keys, may_read=not given or bool(secret), spool=spool)

    def __repr__(self) -> str:
        return f"HookSettings({self.redis_url}, {self.storage_roots}, {len(self.hook_keys)} keys)"


# A farm without keys does not need the import of hmac.


def _hook_keys(text: str) -> tuple[bytes, ...]:
    from tasks.config.hook_key import hook_keys_from_text

    return hook_keys_from_text(text)


def _derived(secret_key: str) -> bytes:
    from tasks.config.hook_key import derive_hook_key

    return derive_hook_key(secret_key)
