"""A Redis master with a replica, and three sentinels that watch over them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from tests.docker.certificate import make_certificate
from tests.farm import wait_until
from tests.helpers.tls_front import tls_front
from tests.sandbox.process import Child, free_ports
from tests.sandbox.redis_server import RedisServer, _find_binary

MASTER = "farm"


class Sentinels:
    """Two servers and three sentinels; ``url`` is a value for FARMHAUL_REDIS_URL.

    ``password`` is that of the servers, ``own_password`` that of the sentinels.
    """

    def __init__(self, folder: Path, password: str = "", own_password: str = "") -> None:
        self.password, self.own_password = password, own_password
        auth = [f"masterauth {password}"] if password else []
        self.first = RedisServer(folder / "first", password=password, extra=auth)
        self.first.start()
        auth.append(f"replicaof 127.0.0.1 {self.first.port}")
        self.second = RedisServer(folder / "second", password=password, extra=auth)
        self.second.start()
        wait_until(lambda: self._info(self.second, "master_link_status") == "up")
        self.ports = free_ports(3)
        self._sentinels = [self._start_sentinel(folder, port) for port in self.ports]
        wait_until(lambda: all(self._knows_all(port) for port in self.ports))

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        login = f":{self.password}@" if self.password else ""
        own = f"?sentinel_password={self.own_password}" if self.own_password else ""
        return f"sentinel://{login}{hosts}/{MASTER}{own}"

    @property
    def master(self) -> RedisServer:
        """The server that the sentinels name as the master."""
        with self._client(self.ports[0]) as sentinel:
            _, port = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return self.first if int(port) == self.first.port else self.second

    def fail_over(self) -> None:
        """Kill the master, and wait until the replica has taken over."""
        old = self.master
        new = self.second if old is self.first else self.first
        old.kill()
        wait_until(lambda: self.master is new, 30)
        wait_until(lambda: self._info(new, "role") == "master", 30)

    def stop(self) -> None:
        for child in self._sentinels:
            child.stop()
        self.first.stop()
        self.second.stop()

    def _start_sentinel(self, folder: Path, port: int) -> Child:
        conf = folder / f"sentinel-{port}.conf"
        conf.write_text(
            f"port {port}\n"
            "bind 127.0.0.1\n"
            f'dir "{folder}"\n'
            f"sentinel monitor {MASTER} 127.0.0.1 {self.first.port} 2\n"
            f"sentinel down-after-milliseconds {MASTER} 1500\n"
            f"sentinel failover-timeout {MASTER} 6000\n"
            + (f"sentinel auth-pass {MASTER} {self.password}\n" if self.password else "")
            + (
                f"requirepass {self.own_password}\nsentinel sentinel-pass {self.own_password}\n"
                if self.own_password
                else ""
            )
        )
        child = Child(
            "sentinel", [_find_binary(), conf, "--sentinel"], folder / f"sentinel-{port}.log"
        )
        with self._client(port) as sentinel:
            child.wait_ready(lambda: _answers(sentinel))
        return child

    def _client(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, password=self.own_password or None, decode_responses=True)

    def _knows_all(self, port: int) -> bool:
        with self._client(port) as sentinel:
            [state] = sentinel.execute_command("SENTINEL", "MASTERS")
            named = (
                state
                if isinstance(state, dict)
                else dict(zip(state[::2], state[1::2], strict=True))
            )
        return int(named["num-other-sentinels"]) == 2 and int(named["num-slaves"]) == 1

    @staticmethod
    def _info(server: RedisServer, name: str) -> str:
        with server.client() as client:
            return str(client.info("replication").get(name, ""))


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError as error:
        raise ConnectionError(str(error)) from error


@contextmanager
def running(folder: Path, password: str = "", own_password: str = "") -> Iterator[Sentinels]:
    """Run them during the block."""
    sentinels = Sentinels(folder, password, own_password)
    try:
        yield sentinels
    finally:
        sentinels.stop()


@contextmanager
def running_with_tls(
    folder: Path, master_certificate: Path | None = None
) -> Iterator[tuple[str, RedisServer]]:
    """Run a master and one sentinel behind TLS; yields a URL and the master.

    The master has the certificate of the sentinel if it is given no other.
    The server of the wheel has no TLS, so the sentinel itself reaches its master without it.
    """
    folder.mkdir(exist_ok=True)
    authority, certificate = folder / "ca.pem", folder / "server.pem"
    make_certificate(["localhost", "127.0.0.1"], authority, certificate)
    master = RedisServer(folder / "master", password="pw")
    [port] = free_ports(1)
    conf = folder / "sentinel.conf"
    with ExitStack() as stack:
        master.start()
        stack.callback(master.stop)
        front = stack.enter_context(
            tls_front(master.port, master_certificate or certificate, also_plain=True)
        )
        conf.write_text(
            f'port {port}\nbind 127.0.0.1\ndir "{folder}"\n'
            f"sentinel monitor {MASTER} 127.0.0.1 {front} 1\n"
            f"sentinel auth-pass {MASTER} pw\n"
        )
        child = Child("sentinel", [_find_binary(), conf, "--sentinel"], folder / "sentinel.log")
        stack.callback(child.stop)
        with redis.Redis(port=port) as sentinel:
            child.wait_ready(lambda: _answers(sentinel))
        place = stack.enter_context(tls_front(port, certificate))
        parameters = f"ssl=true&ssl_ca_certs={authority}"
        yield f"sentinel://:pw@localhost:{place}/{MASTER}/1?{parameters}", master
