"""A farm on a Redis with the users of deploy/redis; each part logs in as its own user."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from cryptography.fernet import Fernet

from tasks.config.hook_key import derive_hook_key, hook_key_text
from tests.debian import NoPackages, unpacked
from tests.farm import Farm, wait_until
from tests.helpers.skipping import skip_loudly
from tests.sandbox import RedisServer, Sandbox
from tests.sandbox.process import CHECKOUT

USERS = ("hook", "operator", "worker", "flower", "exporter", "admin", "health")
MAKE_ACL = CHECKOUT / "deploy/redis/make-acl.sh"


class Guarded:
    """A farm on a Redis that loads the shipped ACL file; each part logs in as its own user."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        passwords = folder / "passwords"
        passwords.mkdir()
        for user in USERS:
            (passwords / user).write_text(f"{secrets.token_urlsafe(16)}\n")
        made = subprocess.run([MAKE_ACL, passwords], capture_output=True, text=True, check=True)
        acl = folder / "users.acl"
        # The tests read ACL LOG as this user.
        acl.write_text(f"{made.stdout}user auditor on nopass ~* &* +@all\n")
        self.acl = made.stdout
        self.passwords = {user: (passwords / user).read_text().strip() for user in USERS}
        self.server = RedisServer(folder / "redis", extra=(f"aclfile {acl}",))
        self.server.launch()
        wait_until(lambda: answers(self.client("health")))
        spool = {"FARMHAUL_SPOOL": str(folder / "spool")}
        env = {"FARMHAUL_SECRET_KEY": Fernet.generate_key().decode(), **spool}
        self.farm = Farm(sandbox, folder / "farm", 1, env=env)
        self.farm.env["FARMHAUL_REDIS_URL"] = self.url("operator")
        self.farm.workers[0].env |= {**env, "FARMHAUL_REDIS_URL": self.url("worker")}
        self.farm.redis = self.client("worker")

    def url(self, user: str) -> str:
        return f"redis://{user}:{self.passwords[user]}@127.0.0.1:{self.server.port}/0"

    def client(self, user: str) -> Any:
        if user == "auditor":
            client: Any = redis.Redis(
                port=self.server.port, username=user, password="any", decode_responses=True
            )
            wait_until(lambda: answers(client))
            return client
        return redis.Redis.from_url(self.url(user), decode_responses=True)

    def hook_enqueues(self, *paths: Path) -> list[dict[str, Any]]:
        """Enqueue new components on a hook's node, which has no more than it needs."""
        secret = self.farm.env["FARMHAUL_SECRET_KEY"]
        env = {
            "FARMHAUL_REDIS_URL": self.url("hook"),
            "FARMHAUL_SECRET_KEY": None,
            "FARMHAUL_HOOK_KEY": hook_key_text(derive_hook_key(secret)),
        }
        version_id = self.farm.sandbox.ftrack.version_id
        return self.farm.enqueue(*paths, "--version-id", version_id, env=env)

    @contextmanager
    def nothing_refused(self, but: Sequence[str] = ()) -> Iterator[None]:
        """Check that Redis refuses nothing in the block, even if the refusal is ignored."""
        with self.client("auditor") as auditor:
            auditor.acl_log_reset()
            yield
            log = auditor.acl_log()
        # redis-py names itself, and ignores the refusal: see users.acl.
        known = {"client|setinfo", *but}
        refused = {
            f"{entry['username']}: {entry['object']}"
            for entry in log
            if entry["object"] not in known
        }
        assert refused == set()


def answers(client: Any) -> bool:
    """Return whether the client is logged in; a hook may not even PING."""
    try:
        return bool(client.ping())
    except redis.exceptions.NoPermissionError:
        return True
    except redis.ConnectionError:
        return False


def redis_cli() -> list[str]:
    """Return the command that runs Debian's redis-cli."""
    try:
        root = unpacked("redis-tools", ["redis-tools", "libjemalloc2", "liblzf1"])
    except NoPackages as error:
        skip_loudly("NOTHING WAS TESTED WITH REDIS-CLI", error)
    [libraries] = {path.parent for path in root.rglob("liblzf.so.1")}
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(root / "usr/bin/redis-cli")]
