"""The commands of docs/redis.md set up a Redis, and give a user another password.

They run as they stand there, in other folders. Programs that would change this machine only say
that they were called, and redis-cli is one of a few lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.farm import wait_until
from tests.helpers.documents import DOCS
from tests.sandbox.process import CHECKOUT
from tests.sandbox.redis_server import RedisServer

USERS = ("hook", "operator", "worker", "flower", "exporter")
#: What is called instead: without the users and groups of Debian's package, and without systemd.
SAYS = '#!/bin/sh\necho "called: $0 $*" | sed "s|$(dirname "$0")/||"\n'
INSTALL = (
    "#!/bin/sh\n"
    'case "$*" in "-m 640 -o root -g redis "*) ;; *) exit 1 ;; esac\n'
    "shift 6\n"
    'exec /usr/bin/install -m 640 "$@"\n'
)
REDIS_CLI = """#!{python}
import os, sys, redis
assert sys.argv[1] == "--user"
client = redis.Redis(port=int(os.environ["PORT"]), username=sys.argv[2],
    password=os.environ["REDISCLI_AUTH"], decode_responses=True)
answer = client.execute_command(*sys.argv[3:])
print("PONG" if answer is True else answer)
"""


class Machine:
    """A machine on which the steps are taken: its folders, and the programs that it has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = folder / "srv/farmhaul/secrets"
        for name in ("bin", "etc/redis", "etc/sysctl.d", "var/lib/redis"):
            (folder / name).mkdir(parents=True)
        programs = dict.fromkeys(("apt-get", "systemctl", "sysctl", "chown"), SAYS)
        programs |= {"install": INSTALL, "redis-cli": REDIS_CLI.format(python=sys.executable)}
        for name, text in programs.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        settings = f"include {folder}/etc/redis/redis.conf"
        self.server = RedisServer(folder / "run", extra=(settings, "bind 127.0.0.1"))

    def take(self, step: str) -> str:
        """Run the commands of a step, and return what they print."""
        for name in ("/srv/farmhaul", "/etc/redis", "/etc/sysctl.d", "/var/lib/redis"):
            step = step.replace(name, f"{self.folder}{name}")
        step = step.replace("FTRACK_API_KEY=…", "FTRACK_API_KEY=a-key")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", step],
            cwd=CHECKOUT,
            env={
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "PORT": str(self.server.port),
                "LC_ALL": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def url(self, user: str) -> str:
        url = (self.secrets / f"redis_url_{user}").read_text().strip()
        return url.replace("@redis.studio:6379/", f"@127.0.0.1:{self.server.port}/")

    def answers(self, user: str) -> bool:
        """Return whether Redis knows the user by the password in its URL."""
        try:
            with redis.Redis.from_url(self.url(user), retry=None) as client:
                client.execute_command("NO-SUCH-COMMAND")
        except (redis.AuthenticationError, redis.ConnectionError):
            return False
        except redis.ResponseError:
            return True
        raise AssertionError("Redis knows a command that does not exist")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    one = Machine(tmp_path)
    yield one
    one.server.stop()


def test_the_steps_of_the_page_set_up_a_redis(machine: Machine) -> None:
    page = DOCS["redis.md"]
    *steps, look, again = re.findall(r"(?ms)^```sh\n(.*?)^```", page)
    for step in steps:
        machine.take(step)

    assert machine.secrets.stat().st_mode & 0o777 == 0o700
    for name in ("redis.conf", "farmhaul.acl"):
        assert (machine.folder / "etc/redis" / name).stat().st_mode & 0o777 == 0o640
    machine.server.launch()
    wait_until(lambda: all(map(machine.answers, USERS)))
    said = machine.take(look)
    assert "called: systemctl enable --now redis-server" in said
    assert "PONG" in said
    assert "noeviction" in said
    with redis.Redis.from_url(machine.url("worker")) as client:
        client.set("farmhaul:kept", "yes")
    assert [*(machine.folder / "var/lib/redis").iterdir()]

    # Another password, as the table "Later" says.
    before = machine.url("worker")
    changed = machine.secrets / "redis_url_worker"
    changed.chmod(0o600)
    changed.write_text(re.sub(r"(?<=worker:)[^@]+", "another-password", changed.read_text()))
    machine.take(again)
    machine.server.stop()
    machine.server.launch()
    wait_until(lambda: all(map(machine.answers, USERS)))
    with redis.Redis.from_url(machine.url("worker"), decode_responses=True) as client:
        assert client.get("farmhaul:kept") == "yes"
    with redis.Redis.from_url(before) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    assert not (machine.secrets / "passwords").exists()
