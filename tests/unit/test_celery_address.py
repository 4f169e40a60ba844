"""The address of Redis for kombu and Celery: the same as redis-py's, with verified TLS."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from kombu import Connection
from kombu.utils.url import parse_url

from tasks.config.redis_url import parse_redis_url
from workers.broker.address import celery_address


def address_of(text: str) -> dict[str, Any]:
    return celery_address(parse_redis_url(text))


@pytest.mark.parametrize("setting", ["broker_url", "result_backend"])
def test_kombu_reads_what_was_written(setting: str) -> None:
    url = address_of("redis://us%40er:p%2Fw%23%25@redis.studio:6380/2")[setting]

    assert parse_url(url) == {
        "transport": "redis",
        "hostname": "redis.studio",
        "port": 6380,
        "userid": "us@er",
        "password": "p/w#%",
        "virtual_host": "2",
    }


def test_without_a_password_kombu_gets_no_login() -> None:
    assert address_of("redis://[::1]")["broker_url"] == "redis://[::1]:6379/0"


def test_kombu_gets_login_and_database_for_every_sentinel() -> None:
    settings = address_of("sentinel://user:p%2Fw@one:1,[::2]:2/farm/3")

    assert settings["broker_url"] == (
        "sentinel://user:p%2Fw@one:1/3;sentinel://user:p%2Fw@[::2]:2/3"
    )
    for options in ("broker_transport_options", "result_backend_transport_options"):
        assert settings[options]["master_name"] == "farm"
        assert "password" not in settings[options]["sentinel_kwargs"]


@pytest.mark.parametrize(
    ("parameters", "user"),
    [("sentinel_password=s3", None), ("sentinel_username=w&sentinel_password=s3", "w")],
)
@pytest.mark.parametrize(
    "setting", ["broker_transport_options", "result_backend_transport_options"]
)
def test_the_sentinels_get_a_login_of_their_own(
    setting: str, parameters: str, user: str | None
) -> None:
    options = address_of(f"sentinel://:pw@one/farm?{parameters}")[setting]["sentinel_kwargs"]

    assert (options["username"], options["password"]) == (user, "s3")


def test_a_socket_is_passed_on_with_its_database() -> None:
    url = address_of("unix://:p%2Fw@/run/redis%201.sock?db=2")["broker_url"]

    assert url == "redis+socket://:p%2Fw@/run/redis%201.sock?virtual_host=2"


@pytest.mark.parametrize("setting", ["broker_use_ssl", "redis_backend_use_ssl"])
def test_tls_is_always_verified(setting: str) -> None:
    plain = address_of("rediss://h")[setting]
    own = address_of("rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c&ssl_check_hostname=false")

    assert plain == {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
        "ssl_ca_certs": None,
        "ssl_certfile": None,
        "ssl_keyfile": None,
    }
    assert own[setting] == {
        **plain,
        "ssl_check_hostname": False,
        "ssl_ca_certs": "/ca.pem",
        "ssl_certfile": "/c",
    }


def test_without_tls_there_are_no_options_for_it() -> None:
    assert "broker_use_ssl" not in address_of("redis://h")


@pytest.mark.parametrize(
    "url",
    [
        "rediss://h?ssl_ca_certs=/ca%201.pem&ssl_check_hostname=false",
        "sentinel://one,two/farm?ssl=true&ssl_ca_certs=/ca%201.pem&ssl_check_hostname=false",
    ],
)
@pytest.mark.parametrize("says_ssl", [True, False])
def test_kombu_verifies_the_certificate_of_the_broker(url: str, says_ssl: bool) -> None:
    settings = address_of(url)
    # Celery does not pass broker_use_ssl to all its connections.
    options = {"ssl": settings["broker_use_ssl"]} if says_ssl else {}

    with Connection(settings["broker_url"], **options) as connection:
        for one in (connection, connection.clone()):
            assert one.ssl["ssl_cert_reqs"] is ssl.CERT_REQUIRED
            assert (one.ssl["ssl_ca_certs"], one.ssl["ssl_check_hostname"]) == ("/ca 1.pem", False)
            assert one.as_uri().partition("?")[1] == ""


def test_sentinels_are_reached_by_tls_too() -> None:
    settings = address_of("sentinel://one/farm?ssl=true&ssl_ca_certs=/ca.pem")

    for options in ("broker_transport_options", "result_backend_transport_options"):
        sentinels = settings[options]["sentinel_kwargs"]
        assert (sentinels["ssl"], sentinels["ssl_cert_reqs"]) == (True, "required")
        assert sentinels["ssl_ca_certs"] == "/ca.pem"


@pytest.mark.parametrize("url", ["redis://h", "rediss://h", "sentinel://one/farm"])
def test_no_connection_waits_for_an_answer_for_ever(url: str) -> None:
    settings = address_of(url)

    options = settings["broker_transport_options"]
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (10, 5)
    assert options["socket_keepalive_options"][socket.TCP_KEEPIDLE] == 15
    assert (settings["redis_socket_timeout"], settings["redis_socket_connect_timeout"]) == (10, 5)
    if "sentinel_kwargs" in options:
        assert options["sentinel_kwargs"]["socket_timeout"] == 2
