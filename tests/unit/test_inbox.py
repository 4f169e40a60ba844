"""The push of entries into a real Redis: every kind of URL, login and refusal."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from tasks.config.redis_url import parse_redis_url
from tasks.intake.inbox import INBOX, RECORD, InboxError, push
from tasks.intake.refusals import step_for
from tasks.records.keys import UPLOAD
from tasks.records.states import UPLOAD_STATES
from tests.docker.certificate import make_certificate, make_client_certificate
from tests.farm import wait_until
from tests.helpers.pythons import SOURCE, python
from tests.helpers.raw_server import ANSWER_S
from tests.helpers.tls_front import tls_front
from tests.sandbox import RedisServer
from tests.sandbox.process import free_ports

PASSWORD = "plain-pw"
ODD_PASSWORD = "p@s/s#3 %41"
ODD = f'user odd on ~* &* +@all ">{ODD_PASSWORD}"'
#: What deploy/redis gives to a hook.
HOOK = "user hook on >hook-pw resetkeys resetchannels -@all %W~farmhaul:inbox +lpush"
ENTRIES = [b"one\r\n\x00\xff", b"two"]


def start(folder: Path, *extra: str, password: str = "") -> RedisServer:
    server = RedisServer(folder, password=password, extra=extra)
    server.start()
    return server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with a password, a user for hooks, and a socket."""
    folder = tmp_path_factory.mktemp("guarded")
    server = start(folder, HOOK, ODD, f'unixsocket "{folder}/r 1.sock"', password=PASSWORD)
    yield server
    server.stop()


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of its own for a test that changes its settings."""
    server = start(tmp_path / "redis")
    yield server
    server.stop()


def client(server: RedisServer, db: int = 0) -> redis.Redis:
    return redis.Redis(port=server.port, password=server.password or None, db=db)


def inbox(server: RedisServer, db: int = 0) -> list[bytes]:
    """Return the entries in the order in which they were pushed, and remove them."""
    with client(server, db) as looking, looking.pipeline() as pipe:
        entries: list[bytes] = pipe.lrange(INBOX, 0, -1).delete(INBOX).execute()[0]
    return entries[::-1]


def pushed(
    url: str, upload_ids: tuple[str, ...] = (), timeout_s: float = ANSWER_S
) -> list[str | None]:
    return push(parse_redis_url(url), ENTRIES, upload_ids, timeout_s)


def refused(url: str, timeout_s: float = ANSWER_S) -> str:
    """Return the one line of the error; no password is in it."""
    with pytest.raises(InboxError) as caught:
        pushed(url, timeout_s=timeout_s)
    line = str(caught.value)
    assert "\n" not in line
    assert PASSWORD not in line
    assert "hook-pw" not in line
    assert "wrong-pw" not in line
    return line


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_all_entries_arrive_in_their_order(redis_server: RedisServer, host: str) -> None:
    assert pushed(f"redis://{host}:{redis_server.port}/0") == []
    assert inbox(redis_server) == ENTRIES


def test_one_push_is_one_command(broken: RedisServer) -> None:
    pushed(broken.url)

    with client(broken) as looking:
        stats = looking.info("commandstats")
    assert stats["cmdstat_lpush"]["calls"] == 1
    assert "cmdstat_select" not in stats


def test_the_states_of_records_come_with_the_answer(redis_server: RedisServer) -> None:
    with client(redis_server) as looking:
        looking.hset(f"{UPLOAD}a", "state", "located")
        looking.hset(f"{UPLOAD}b", "stage", "put_file")
        looking.set(f"{UPLOAD}c", "not a record")
        looking.hset(f"{UPLOAD}d", "state", "lo\ncated")
        looking.hset(f"{UPLOAD}e", "state", "pending")

    states = pushed(redis_server.url, ("a", "b", "c", "d", "none", "e"))

    assert states == ["located", None, None, None, None, "pending"]


def test_each_state_of_a_record_can_be_read(redis_server: RedisServer) -> None:
    assert RECORD == UPLOAD
    with client(redis_server) as looking:
        for state in UPLOAD_STATES:
            looking.hset(UPLOAD + state, "state", state)

    assert pushed(redis_server.url, tuple(UPLOAD_STATES)) == list(UPLOAD_STATES)


def test_large_entries_and_many_ids_go_in_one_push(redis_server: RedisServer) -> None:
    entries = [b"x" * (1 << 20)] * 8
    ids = [f"{number:036}" for number in range(10_000)]

    assert push(parse_redis_url(redis_server.url), entries, ids, 10) == [None] * 10_000
    assert inbox(redis_server) == entries


def test_the_database_of_the_url_is_used(redis_server: RedisServer) -> None:
    pushed(f"redis://127.0.0.1:{redis_server.port}/3")

    assert (inbox(redis_server), inbox(redis_server, 3)) == ([], ENTRIES)


def test_a_database_that_is_not_there_is_said(redis_server: RedisServer) -> None:
    line = refused(f"redis://127.0.0.1:{redis_server.port}/99")

    assert line.startswith("Redis does not have this database (127.0.0.1:")
    assert inbox(redis_server) == []


def test_a_password_alone_logs_in(guarded: RedisServer) -> None:
    pushed(f"redis://:{PASSWORD}@127.0.0.1:{guarded.port}/0", ("x",))

    assert inbox(guarded) == ENTRIES


def test_a_password_may_have_any_character(guarded: RedisServer) -> None:
    pushed(f"redis://odd:{quote(ODD_PASSWORD, '')}@127.0.0.1:{guarded.port}/0")

    assert inbox(guarded) == ENTRIES


def test_a_password_and_a_database_go_together(guarded: RedisServer) -> None:
    pushed(f"redis://:{PASSWORD}@127.0.0.1:{guarded.port}/2")

    assert inbox(guarded, 2) == ENTRIES


def test_the_user_of_hooks_needs_no_right_but_lpush(guarded: RedisServer) -> None:
    states = pushed(f"redis://hook:hook-pw@127.0.0.1:{guarded.port}/0", ("x", "y"))

    assert states == [None, None]
    assert inbox(guarded) == ENTRIES


def test_a_unix_socket_is_reached(guarded: RedisServer) -> None:
    pushed(f"unix://hook:hook-pw@{quote(str(guarded.folder))}/r%201.sock")

    assert inbox(guarded) == ENTRIES


def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    line = refused(f"unix://{tmp_path}/none.sock")

    assert f"({tmp_path}/none.sock: No such file or directory)" in line


def test_what_is_not_a_socket_is_named(tmp_path: Path) -> None:
    line = refused(f"unix://{tmp_path}")

    assert line == (
        f"Redis is not reachable ({tmp_path}: it is not a socket); "
        "something else is there: name the address of Redis in FARMHAUL_REDIS_URL"
    )


def test_a_system_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("_socket.AF_UNIX")

    assert "this system has no Unix sockets for Python); use redis://" in refused("unix:///r.sock")


@pytest.mark.parametrize(
    ("login", "reason"),
    [
        ("", "Redis refuses access: it wants a password (127.0.0.1:"),
        (":wrong-pw@", "Redis refuses access: it does not accept the login (127.0.0.1:"),
        ("hook:wrong-pw@", "Redis refuses access: it does not accept the login (127.0.0.1:"),
        ("nobody:wrong-pw@", "Redis refuses access: it does not accept the login (127.0.0.1:"),
    ],
)
def test_a_login_that_is_not_accepted_is_said(
    guarded: RedisServer, login: str, reason: str
) -> None:
    for db in (0, 1):
        line = refused(f"redis://{login}127.0.0.1:{guarded.port}/{db}")

        assert line.startswith(reason)
        assert line.endswith("; check the user and password in FARMHAUL_REDIS_URL")


def test_a_user_without_the_right_is_told_which_one(guarded: RedisServer) -> None:
    with client(guarded) as admin:
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">wrong-pw", "%R~*", "+hget")

    push_refused = refused(f"redis://reader:wrong-pw@127.0.0.1:{guarded.port}/0")
    select_refused = refused(f"redis://hook:hook-pw@127.0.0.1:{guarded.port}/1")

    assert "this user may not LPUSH (127.0.0.1:" in push_refused
    assert "hook for hooks" in push_refused
    assert "this user may not SELECT (127.0.0.1:" in select_refused
    assert "write database 0 in FARMHAUL_REDIS_URL" in select_refused
    assert inbox(guarded) == inbox(guarded, 1) == []


def test_a_password_that_redis_does_not_need_does_no_harm(redis_server: RedisServer) -> None:
    pushed(f"redis://:wrong-pw@127.0.0.1:{redis_server.port}/0")

    assert inbox(redis_server) == ENTRIES


def test_a_full_redis_is_said(broken: RedisServer) -> None:
    with client(broken) as admin:
        admin.config_set("maxmemory", 1)

    assert refused(broken.url).startswith("Redis is full and accepts nothing new (127.0.0.1:")


def test_a_redis_that_cannot_save_is_said(broken: RedisServer) -> None:
    with client(broken) as admin:
        (broken.folder / "dump.rdb").mkdir()  # where its snapshot belongs
        admin.config_set("save", "3600 1")
        admin.bgsave()
        wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")

    assert "cannot write to its disk" in refused(broken.url)


def test_an_inbox_of_another_type_is_said(broken: RedisServer) -> None:
    with client(broken) as admin:
        admin.set(INBOX, 1)

    assert "farmhaul:inbox is not a list (" in refused(broken.url)


def test_a_redis_without_a_free_connection_is_said(broken: RedisServer) -> None:
    with client(broken) as admin:
        admin.config_set("maxclients", 1)
        line = refused(broken.url)

    assert line.startswith("Redis has no connection left (127.0.0.1:")


def test_a_replica_is_asked_again_and_then_named(tmp_path: Path) -> None:
    replica = start(tmp_path, "replicaof 127.0.0.1 1", "replica-serve-stale-data yes")
    try:
        began = time.monotonic()
        line = refused(replica.url)

        assert "this Redis is a replica and cannot be written (127.0.0.1:" in line
        assert 0.2 <= time.monotonic() - began < 5
        with client(replica) as looking:
            # Two tries; each was refused.
            assert looking.info("commandstats")["cmdstat_lpush"]["rejected_calls"] == 2

            looking.replicaof("no", "one")
        pushed(replica.url)
        assert inbox(replica) == ENTRIES
    finally:
        replica.stop()


def test_a_redis_cluster_is_refused_by_name(tmp_path: Path) -> None:
    # Without it the bus takes the port 10,000 above, which may be in use.
    [bus] = free_ports(1)
    node = start(tmp_path, "cluster-enabled yes", f"cluster-port {bus}")
    try:
        line = refused(node.url)
        assert "this is a Redis Cluster, which farmhaul does not support (127.0.0.1:" in line
    finally:
        node.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificate of localhost, of its authority, and of another authority."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(["localhost"], folder / "ca.pem", folder / "server.pem")
    make_certificate(["localhost"], folder / "other.pem", folder / "unused.pem")
    return folder


def test_tls_verifies_the_certificate(
    guarded: RedisServer, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login, ca = f":{PASSWORD}@", certificates / "ca.pem"
    with tls_front(guarded.port, certificates / "server.pem") as port:
        here = f"rediss://{login}localhost:{port}/0"

        pushed(f"{here}?ssl_ca_certs={ca}", ("x",))
        pushed(f"rediss://{login}127.0.0.1:{port}/0?ssl_ca_certs={ca}&ssl_check_hostname=false")
        stranger = refused(f"{here}?ssl_ca_certs={certificates}/other.pem")
        other_name = refused(f"rediss://{login}127.0.0.1:{port}/0?ssl_ca_certs={ca}")
        system = refused(here)
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        pushed(here)

    assert inbox(guarded) == ENTRIES * 3
    for line in (stranger, other_name, system):
        assert "its certificate is not accepted: " in line
    for line in (stranger, system):
        assert "name its authority with ssl_ca_certs" in line
    assert "not valid for '127.0.0.1'); name a host of the certificate in the URL" in other_name


def test_a_certificate_that_has_expired_is_to_be_renewed(
    guarded: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, certificate = tmp_path / "ca.pem", tmp_path / "server.pem"
    monkeypatch.setattr("tests.docker.certificate._LIFETIME", datetime.timedelta(minutes=-1))
    make_certificate(["localhost"], authority, certificate)
    with tls_front(guarded.port, certificate) as port:
        line = refused(f"rediss://:{PASSWORD}@localhost:{port}?ssl_ca_certs={authority}")

    assert "certificate has expired); renew the certificate of Redis, or correct the clock" in line
    words = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired"
    assert step_for(words).startswith("renew the certificate of Redis, ")


def test_tls_takes_large_entries(guarded: RedisServer, certificates: Path) -> None:
    with tls_front(guarded.port, certificates / "server.pem") as port:
        url = f"rediss://:{PASSWORD}@localhost:{port}?ssl_ca_certs={certificates}/ca.pem"
        push(parse_redis_url(url), [b"x" * 5_000_000], (), 10)

    assert inbox(guarded) == [b"x" * 5_000_000]


def test_a_client_certificate_is_shown(
    guarded: RedisServer, certificates: Path, tmp_path: Path
) -> None:
    own = tmp_path / "client.pem"
    make_client_certificate(own)
    with tls_front(guarded.port, certificates / "server.pem", authority=own) as port:
        url = f"rediss://:{PASSWORD}@localhost:{port}?ssl_ca_certs={certificates}/ca.pem"
        without = refused(url)
        pushed(f"{url}&ssl_certfile={own}")
        pushed(f"{url}&ssl_certfile={own}&ssl_keyfile={own}")

    assert "Redis is not reachable (localhost:" in without
    assert "that Redis is running" not in without
    assert inbox(guarded) == ENTRIES * 2


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ("ssl_ca_certs=/none.pem", "ssl_ca_certs: cannot use /none.pem: No such file or directory"),
        (
            "ssl_ca_certs=/etc/hostname",
            "cannot use /etc/hostname: it has no certificate in PEM form); correct ssl_ca_certs in",
        ),
        (
            "ssl_certfile=/etc/hostname",
            "it has no certificate and key that belong together in PEM form); correct ssl_certfile",
        ),
        ("ssl_certfile=/none.pem", "ssl_certfile: cannot use /none.pem: No such file or directory"),
    ],
)
def test_a_file_that_tls_cannot_use_is_named(
    redis_server: RedisServer, parameters: str, reason: str
) -> None:
    assert reason in refused(f"rediss://localhost:{redis_server.port}?{parameters}")


def test_a_redis_without_tls_ends_within_the_deadline(redis_server: RedisServer) -> None:
    began = time.monotonic()
    line = refused(f"rediss://localhost:{redis_server.port}", 1.5)

    assert line.startswith("Redis is not reachable (localhost:")
    assert time.monotonic() - began < 5


def test_a_password_is_in_no_text_of_the_error(guarded: RedisServer) -> None:
    with pytest.raises(InboxError) as caught:
        pushed(f"redis://hook:wrong-pw@127.0.0.1:{guarded.port}/0")

    error: BaseException | None = caught.value
    while error is not None:
        assert "wrong-pw" not in f"{error} {error!r}"
        error = error.__context__


@pytest.mark.parametrize("minor", [8, 13])
def test_other_pythons_push_too(guarded: RedisServer, certificates: Path, minor: int) -> None:
    script = (
        "import sys\n"
        "from tasks.config.redis_url import parse_redis_url\n"
        "from tasks.intake.inbox import InboxError, push\n"
        "for url in sys.argv[1:]:\n"
        "    print(push(parse_redis_url(url), [b'entry'], ['x']))\n"
        "try:\n"
        "    push(parse_redis_url('redis://localhost:1'), [b'entry'])\n"
        "except InboxError as error:\n"
        "    print(error)\n"
    )
    program = python(minor)
    with tls_front(guarded.port, certificates / "server.pem") as port:
        done = subprocess.run(
            [
                program,
                *("-W", "error", "-c", script),
                f"redis://:{PASSWORD}@127.0.0.1:{guarded.port}",
                f"redis://hook:hook-pw@localhost:{guarded.port}",
                f"unix://hook:hook-pw@{quote(str(guarded.folder))}/r%201.sock",
                f"rediss://:{PASSWORD}@localhost:{port}/0?ssl_ca_certs={certificates}/ca.pem",
            ],
            cwd=SOURCE,
            capture_output=True,
            text=True,
        )

    assert done.stdout.splitlines()[:4] == ["[None]"] * 4, done.stderr
    assert "Redis is not reachable (localhost:1: Connection refused)" in done.stdout
    assert inbox(guarded) == [b"entry"] * 4


def test_a_push_imports_nothing_heavy(redis_server: RedisServer) -> None:
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from tasks.config.redis_url import parse_redis_url\n"
        "from tasks.intake.inbox import push\n"
        "push(parse_redis_url(sys.argv[1]), [b'entry'], ['x'])\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n" + script,
            redis_server.url,
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = set(done.stdout.split())
    assert "_socket" in loaded
    assert not loaded & {"re", "json", "enum", "collections", "functools", "socket", "threading"}
