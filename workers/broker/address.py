"""The address of Redis, as kombu and Celery want it."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import quote, urlencode

from tasks.config.redis_client import (
    ANSWER_S,
    CONNECT_S,
    KEPT_ALIVE,
    sentinel_options,
    ssl_options,
)
from tasks.config.redis_url import RedisUrl, address

#: A waiting BRPOP, or a subscription, that is silent for two or three times as long is begun again.
#: It is longer than a BRPOP waits, which would be preceded by a PING otherwise.
HEALTH_CHECK_S = 15


def celery_address(url: RedisUrl) -> dict[str, Any]:
    """Return the settings of Celery that say where Redis is, for broker and result backend.

    ``broker_transport_options`` is among them: add other options of the transport to these.
    """
    master: dict[str, Any] = {}
    if url.scheme == "sentinel":
        master = {"master_name": url.master, "sentinel_kwargs": sentinel_options(url)}
    settings = {
        "broker_url": _kombu_url(url, _tls_parameters(url)),
        "broker_transport_options": {
            **master,
            "socket_connect_timeout": CONNECT_S,
            # kombu has no timeout of its own, so a half-open connection would stop a worker. It
            # reads the answer to its BRPOP, which waits, only when there is one.
            "socket_timeout": ANSWER_S,
            **KEPT_ALIVE,
            "health_check_interval": HEALTH_CHECK_S,
        },
        "result_backend": _kombu_url(url),
        "result_backend_transport_options": master,
        "redis_socket_connect_timeout": CONNECT_S,
        "redis_socket_timeout": ANSWER_S,
        # Celery knows no options for the probes: those of redis-py are like ours.
        "redis_socket_keepalive": url.scheme != "unix",
    }
    if url.has_tls:
        tls = {**ssl_options(url), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        settings |= {"broker_use_ssl": tls, "redis_backend_use_ssl": tls}
    return settings


def _kombu_url(url: RedisUrl, parameters: str = "") -> str:
    login = ""
    if url.password:
        login = f"{quote(url.user, safe='')}:{quote(url.password, safe='')}@"
    if url.scheme == "unix":
        return f"redis+socket://{login}{quote(url.path)}?virtual_host={url.db}"
    # kombu takes several sentinels as several URLs, and the name of the master as an option.
    places = (address(host, port) for host, port in url.hosts)
    return ";".join(f"{url.scheme}://{login}{place}/{url.db}{parameters}" for place in places)


def _tls_parameters(url: RedisUrl) -> str:
    """Return what kombu reads from a URL; without it, it would accept any certificate.

    broker_use_ssl says the same, but not all that make a connection pass it on.
    """
    if not url.has_tls:
        return ""
    values = {
        "ssl_cert_reqs": "CERT_REQUIRED",
        "ssl_check_hostname": str(url.ssl_check_hostname),
        "ssl_ca_certs": url.ssl_ca_certs,
        "ssl_certfile": url.ssl_certfile,
        "ssl_keyfile": url.ssl_keyfile,
    }
    given = {name: value for name, value in values.items() if value}
    return f"?{urlencode(given, quote_via=quote)}"
