"""The address of Redis, as kombu and Celery want it."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import quote

from tasks.config.redis_client import sentinel_login, ssl_options
from tasks.config.redis_url import RedisUrl, address


def celery_address(url: RedisUrl) -> dict[str, Any]:
    """Return the settings of Celery that say where Redis is, for broker and result backend.

    ``broker_transport_options`` is among them: add other options of the transport to these.
    """
    where = _kombu_url(url)
    options: dict[str, Any] = {}
    if url.scheme == "sentinel":
        options = {"master_name": url.master, "sentinel_kwargs": sentinel_login(url)}
    settings = {
        "broker_url": where,
        "broker_transport_options": options,
        "result_backend": where,
        "result_backend_transport_options": options,
    }
    if url.scheme == "rediss":
        # Without these, kombu would accept any certificate.
        tls = {**ssl_options(url), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        settings |= {"broker_use_ssl": tls, "redis_backend_use_ssl": tls}
    return settings


def _kombu_url(url: RedisUrl) -> str:
    login = ""
    if url.password:
        login = f"{quote(url.user, safe='')}:{quote(url.password, safe='')}@"
    if url.scheme == "unix":
        return f"redis+socket://{login}{quote(url.path)}?virtual_host={url.db}"
    # kombu takes several sentinels as several URLs, and the name of the master as an option.
    places = (address(host, port) for host, port in url.hosts)
    return ";".join(f"{url.scheme}://{login}{place}/{url.db}" for place in places)
