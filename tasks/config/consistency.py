"""The checks of settings together, which are the same for hooks and workers."""

from __future__ import annotations

from tasks.config.redis_url import file_faults, unreadable
from tasks.config.variables import faults as unknown_variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks.config.environment import Reader
    from tasks.config.redis_url import RedisUrl


def check_together(
    read: Reader, url: RedisUrl, secret: Sequence[str], hook_keys: Sequence[bytes]
) -> None:
    """Check names, the files of the URL, and that keys belong together.

    Raises:
        SettingsError: this or anything read so far was not valid; the text names all of it.
    """
    read.faults += [f"FARMHAUL_REDIS_URL: {fault}" for fault in file_faults(url)]
    if url.has_tls and not url.ssl_ca_certs:
        file = read.environment.get("SSL_CERT_FILE", "")
        read.faults += [f"SSL_CERT_FILE: {fault}" for fault in unreadable(file)]
    if secret and hook_keys:
        # Imported late: few nodes have both.
        from tasks.config.hook_key import derive_hook_key

        # A worker with this hook key alone would refuse what all other nodes sign.
        if not set(hook_keys) & set(map(derive_hook_key, secret)):
            read.faults.append(
                "FARMHAUL_HOOK_KEY: is not made from FARMHAUL_SECRET_KEY, which is set too; unset "
                "it, or write what farmhaul key hook prints"
            )
    read.faults += unknown_variables(read.environment)
    read.check()
