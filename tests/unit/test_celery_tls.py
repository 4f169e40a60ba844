"""Celery's own connections to Redis: no certificate but the right one is accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu import Connection

from tasks.config.redis_url import parse_redis_url
from tests.chaos import sentinels
from tests.docker.certificate import make_certificate
from tests.helpers.tls_front import tls_front
from tests.sandbox import RedisServer
from workers.broker.address import celery_address
from workers.broker.transport import SentinelTransport, Transport


def celery(url: str) -> Celery:
    app = Celery(set_as_current=False)
    app.conf.update(celery_address(parse_redis_url(url)))
    return app


def transport(url: str) -> type[Transport | SentinelTransport]:
    return SentinelTransport if url.startswith("sentinel") else Transport


def ping(connection: Connection) -> None:
    """Not by ``connection.channel()``, which waits 2 s and tries again."""
    transport = connection.transport
    transport.create_channel(transport.establish_connection()).client.ping()


def ask_broker(url: str) -> None:
    with celery(url).connection_for_write(transport=transport(url)) as connection:
        ping(connection)


def ask_broker_by_its_url(url: str) -> None:
    """As Celery does where it does not pass broker_use_ssl on."""
    conf = celery(url).conf
    options = conf.broker_transport_options
    with Connection(
        conf.broker_url, transport=transport(url), transport_options=options
    ) as connection:
        ping(connection)


def ask_result_backend(url: str) -> None:
    with celery(url).backend.client as client:
        client.ping()


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The URLs of two masters by their sentinels; the certificate of the second is strange."""
    folder = tmp_path_factory.mktemp("group")
    strange = folder / "strange.pem"
    make_certificate(["localhost", "127.0.0.1"], folder / "unused.pem", strange)
    with (
        sentinels.running_with_tls(folder / "good") as (good, _),
        sentinels.running_with_tls(folder / "strange", strange) as (bad, _),
    ):
        yield [good, bad]


each_way = pytest.mark.parametrize("ask", [ask_broker, ask_broker_by_its_url, ask_result_backend])


@each_way
def test_only_the_right_certificate_is_accepted(
    ask: Callable[[str], None], redis_server: RedisServer, tmp_path: Path
) -> None:
    authority, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    make_certificate(["localhost"], other, tmp_path / "unused.pem")
    make_certificate(["localhost"], authority, tmp_path / "server.pem")
    with tls_front(redis_server.port, tmp_path / "server.pem") as port:
        ask(f"rediss://localhost:{port}/0?ssl_ca_certs={authority}")

        for host, trusted, why in (
            ("localhost", other, "unable to get local issuer|certificate signature failure"),
            ("127.0.0.1", authority, "IP address mismatch"),
        ):
            with pytest.raises(redis.ConnectionError, match=why):
                ask(f"rediss://{host}:{port}/0?ssl_ca_certs={trusted}")


@each_way
def test_only_the_right_master_of_sentinels_is_accepted(
    ask: Callable[[str], None], masters: list[str]
) -> None:
    good, bad = masters
    ask(good)

    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(bad)
