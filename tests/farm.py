"""A small farm: real worker processes, and the command ``farmhaul`` in processes of its own.

    with Farm(sandbox, folder, workers=2) as farm:
        upload = farm.upload(content=200_000)
        farm.wait_located([upload.id])

Workers exit with the process that started them, however it exits. Each writes its own log
in *folder*. Several farms can share a sandbox if each has a Redis database of its own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, cast
from urllib.parse import urlsplit

import redis

from tasks.records.states import STAGES
from tests.helpers.take_in import take_in
from tests.sandbox import Sandbox
from tests.sandbox.process import CHECKOUT, Child

BIN = Path(sys.executable).parent
POLL_S = 0.03
#: Of a worker, if a test gives no others.
OPTIONS = (
    *("--concurrency=2", "--without-gossip", "--without-mingle"),
    *("-I", "tests.helpers.unhurried"),
)

#: ``celery -A workers worker`` or ``farmhaul worker``.
Command: TypeAlias = Literal["celery", "farmhaul"]
#: What a kill hits: the parent and its pool, the parent alone, or one child of the pool.
Victim: TypeAlias = Literal["group", "parent", "child"]


@dataclass(frozen=True)
class Upload:
    """A file that was enqueued, and the component it is for."""

    id: str
    component_id: str
    path: Path


class Worker:
    """A worker of the farm: a parent process and its pool."""

    def __init__(
        self,
        name: str,
        folder: Path,
        env: Mapping[str, str],
        *,
        options: Sequence[str] = (),
        command: Command = "celery",
        app: str = "workers",
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.env = dict(env)
        start = {
            "celery": (BIN / "celery", "-A", app, "worker", "--loglevel=INFO"),
            "farmhaul": (BIN / "farmhaul", "worker"),
        }
        self.command = [*map(str, start[command]), f"--hostname={name}@%h", *options]
        self.is_frozen = False
        self._log_start = 0
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"the worker {self.name} was not started")
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    @property
    def returncode(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.child._process.poll()

    def launch(self) -> None:
        """Start it without waiting; `wait_ready` waits."""
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        # Child passes os.environ on: coverage gets into the worker by it.
        self._child = Child(self.name, self.command, self.log, env=self.env)
        self.is_frozen = False

    def wait_ready(self, timeout_s: float = 60) -> None:
        self.child.wait_ready(lambda: " ready." in self.log_text(), timeout_s)

    def log_text(self, *, all_starts: bool = False) -> str:
        """Return what it logged since it was last started."""
        with self.log.open("rb") as log:
            log.seek(0 if all_starts else self._log_start)
            return log.read().decode(errors="replace")

    def pool_pids(self) -> list[int]:
        """Return the processes of its pool."""
        with suppress(FileNotFoundError):
            path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
            return [int(pid) for pid in path.read_text().split()]
        return []

    def terminate(self) -> None:
        """SIGTERM to the parent alone, as supervisors do: a warm shutdown; does not wait."""
        self.child.terminate()

    def stop(self, timeout_s: float = 60) -> None:
        """Let it finish its tasks, and wait until it exits."""
        if self._child is not None:
            self._child.stop(timeout_s)
            # A pool outlives its killed parent until it notices.
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def kill(self, victim: Victim = "group") -> None:
        """Send SIGKILL; return when the victim is gone (a child of the pool: soon)."""
        if victim == "child":
            os.kill(random.choice(self.pool_pids()), signal.SIGKILL)
            return
        if victim == "group":
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.child.kill()

    def freeze(self) -> None:
        """Stop it and its pool where they are (SIGSTOP)."""
        os.killpg(self.pid, signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)
        self.is_frozen = False

    def restart(self) -> None:
        """Start it again, after a warm shutdown if it runs."""
        if self.alive:
            self.stop()
        self.launch()
        self.wait_ready()


class Farm:
    """Workers named w1, w2, … on a sandbox, and the commands of hooks and operators."""

    def __init__(
        self,
        sandbox: Sandbox,
        folder: Path,
        workers: int = 2,
        *,
        options: Sequence[str] = OPTIONS,
        command: Command = "celery",
        app: str = "workers",
        env: Mapping[str, str] | None = None,
        database: int = 0,
    ) -> None:
        """Prepare; nothing runs yet. ``options`` are those of ``celery worker``."""
        self.sandbox = sandbox
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        url = urlsplit(sandbox.redis.url)._replace(path=f"/{database}").geturl()
        self.env = {**sandbox.env, "FARMHAUL_REDIS_URL": url, **(env or {})}
        # Any: redis-py's types of replies cover asyncio and bytes, too.
        self.redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self._options = options
        self._command: Command = command
        self._app = app
        self.workers: list[Worker] = []
        self._made = 0
        for _ in range(workers):
            self._prepare(options, command)

    def _prepare(
        self, options: Sequence[str], command: Command, env: Mapping[str, str] | None = None
    ) -> Worker:
        self._made += 1  # a name is never used again
        name = f"w{self._made}"
        environment = {**self.env, **(env or {})}
        worker = Worker(
            name, self.folder, environment, options=options, command=command, app=self._app
        )
        self.workers.append(worker)
        return worker

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # Workers

    def start(self) -> None:
        """Start all workers that do not run, at once, and wait until each is ready."""
        asleep = [worker for worker in self.workers if not worker.alive]
        try:
            for worker in asleep:
                worker.launch()
            for worker in asleep:
                worker.wait_ready()
        except BaseException:
            self.stop()
            raise

    def add(
        self,
        *,
        options: Sequence[str] | None = None,
        command: Command | None = None,
        env: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Worker:
        """Start one more worker and, unless told not to, wait until it is ready."""
        worker = self._prepare(
            self._options if options is None else options, command or self._command, env
        )
        if wait:
            self.start()
        else:
            worker.launch()
        return worker

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze all workers meanwhile, so that a backlog can grow."""
        for worker in self.workers:
            worker.freeze()
        try:
            yield
        finally:
            for worker in self.workers:
                worker.thaw()

    def terminate(self) -> None:
        """Ask all workers for a warm shutdown; do not wait."""
        for worker in self.workers:
            if worker.alive:
                worker.terminate()

    def stop(self) -> None:
        """Shut all workers down warmly."""
        self.terminate()
        for worker in self.workers:
            worker.stop()
        self.redis.close()

    # The command line

    def cli(
        self,
        *arguments: str | Path,
        stdin: str | None = None,
        env: Mapping[str, str | None] | None = None,
        timeout_s: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``farmhaul``; a variable of *env* that is None is removed."""
        return subprocess.run(
            [BIN / "farmhaul", *arguments],
            input=stdin or "",
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            env=self.environment(env),
            timeout=timeout_s,
        )

    def environment(self, env: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the whole environment of a hook on this farm."""
        merged = {**os.environ, **self.env, **(env or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def enqueue(
        self,
        *arguments: str | Path,
        stdin: str | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> list[dict[str, Any]]:
        """Run ``farmhaul enqueue``; return what it printed, a dict for each upload.

        If no worker is there to take them in, the uploads have records when this returns.
        """
        done = self.cli("enqueue", *arguments, stdin=stdin, env=env)
        if done.returncode:
            raise AssertionError(f"enqueue exited with {done.returncode}: {done.stderr}")
        uploads = [json.loads(line) for line in done.stdout.splitlines()]
        is_pushed = any(upload["state"] != "spooled" for upload in uploads)
        if is_pushed and all(worker.is_frozen for worker in self.workers):
            self.take_in()
        return uploads

    def take_in(self) -> None:
        """Take in once what hooks have pushed, as a worker does."""
        take_in(self.environment(self.workers[0].env if self.workers else None))

    def enqueue_manifest(
        self, entries: Iterable[Mapping[str, Any]], *arguments: str
    ) -> list[dict[str, Any]]:
        """Enqueue the entries of a manifest on stdin."""
        lines = "".join(f"{json.dumps(entry)}\n" for entry in entries)
        return self.enqueue("--manifest", "-", *arguments, stdin=lines)

    def upload(
        self,
        *options: str,
        path: Path | None = None,
        content: bytes | int = 20_000,
        name: str = "main.exr",
        component_id: str = "",
        env: Mapping[str, str | None] | None = None,
    ) -> Upload:
        """Enqueue one file, as a hook does; by default a new one for a new component.

        Args:
            options: more options of ``farmhaul enqueue``.
            path: the file; if None, a new one is written.
            content: what the new file holds: these bytes, or so many random ones.
            name: the name of the new file.
            component_id: an existing component; if empty, ftrack gets a new one, unless
                the options name a version.
            env: environment variables of the hook; None removes one.
        """
        path = path or self.make_file(name, content)
        if "--version-id" not in options:
            component_id = component_id or self.sandbox.ftrack.add_component(path.name)
            options = ("--component-id", component_id, *options)
        [upload] = self.enqueue(path, *options, env=env)
        return Upload(str(upload["upload_id"]), str(upload["component_id"]), path)

    def upload_many(self, count: int, size: int = 20_000) -> list[Upload]:
        """Enqueue new files for new components by one manifest."""
        rows = [
            (self.make_file(f"main.{n:04d}.exr", size), self.sandbox.ftrack.add_component())
            for n in range(count)
        ]
        uploads = self.enqueue_manifest(
            {"path": str(path), "component_id": component_id} for path, component_id in rows
        )
        return [
            Upload(str(upload["upload_id"]), component_id, path)
            for (path, component_id), upload in zip(rows, uploads, strict=True)
        ]

    def make_file(self, name: str, content: bytes | int, folder: str | None = None) -> Path:
        """Write a file below the storage root: these bytes, or so many random ones.

        By default it gets a folder of its own, so that two tests never share one by chance.
        """
        path = self.sandbox.storage / (folder or uuid.uuid4().hex[:12]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.randbytes(content) if isinstance(content, int) else content)
        return path

    # The record

    def record(self, upload_id: str) -> dict[str, str]:
        """Return the hash of an upload in Redis; empty if there is none."""
        return cast("dict[str, str]", self.redis.hgetall(f"farmhaul:upload:{upload_id}"))

    def states(self, upload_ids: Iterable[str]) -> list[str]:
        """Return the state of each upload; empty for an upload without a record."""
        pipeline = self.redis.pipeline(transaction=False)
        for upload_id in upload_ids:
            pipeline.hget(f"farmhaul:upload:{upload_id}", "state")
        return [state or "" for state in pipeline.execute()]

    def wait_located(self, upload_ids: Iterable[str], timeout_s: float = 30) -> None:
        """Poll until all are located.

        Raises:
            AssertionError: an upload ended in another state, or the time is up.
        """
        self.wait_state(upload_ids, "located", timeout_s)

    def wait_state(self, upload_ids: Iterable[str], wanted: str, timeout_s: float = 30) -> None:
        """Poll until all are in a state.

        Raises:
            AssertionError: an upload ended in another state, or the time is up.
        """
        ids = list(dict.fromkeys(upload_ids))
        ended = {"located", "failed", "cancelled", "superseded"} - {wanted}

        def there() -> bool:
            states: list[str] = []
            with suppress(redis.ConnectionError, redis.TimeoutError):  # restarted by a test
                states = self.states(ids)
            if ended & set(states):
                raise AssertionError(f"not all are {wanted}:\n{self._describe(ids, wanted)}")
            return bool(states) and set(states) == {wanted}

        wait_until(there, timeout_s, lambda: f"not yet {wanted}:\n{self._describe(ids, wanted)}")

    def wait_stage(self, upload_id: str, stage: str, timeout_s: float = 30) -> None:
        """Poll until a worker has begun a stage of the upload, or a later one."""
        number = STAGES.index(stage) + 1
        wait_until(
            lambda: int(self.record(upload_id).get("stage") or 0) >= number,
            timeout_s,
            lambda: f"not yet in {stage}: {self.record(upload_id)}",
        )

    def _describe(self, upload_ids: Iterable[str], wanted: str) -> str:
        records = {upload_id: self.record(upload_id) for upload_id in upload_ids}
        hidden = ("request", "file")
        return "\n".join(
            f"{upload_id} { {k: v for k, v in record.items() if k not in hidden} }"
            for upload_id, record in records.items()
            if record.get("state") != wanted
        )

    def wait_quiet(self, timeout_s: float = 30) -> None:
        """Poll until no message is queued or unacknowledged, so that Redis may be flushed."""

        def quiet() -> bool:
            # In one transaction, because what moves from one list to the next would be missed.
            pipeline = self.redis.pipeline(transaction=True)
            pipeline.keys("farmhaul*")
            pipeline.exists("unacked", "farmhaul:inbox", "farmhaul:taking")
            keys, others = pipeline.execute()
            return not others and not any(map(_is_queue, keys))

        def stays_quiet() -> bool:
            if not quiet():
                return False
            # kombu notes a message as unacknowledged a moment after it has taken it from its queue.
            time.sleep(0.05)
            return quiet()

        def busy() -> str:
            return f"still busy: {sorted(self.redis.scan_iter('*'))}"

        wait_until(stays_quiet, timeout_s, busy)


def _is_queue(key: str) -> bool:
    # "farmhaul:…" are records; "farmhaul", "farmhaul<sep>3" and "farmhaul.HOST<sep>3" are queues.
    return not key.startswith("farmhaul:")


def heed_sigint() -> None:
    """Restore SIGINT between fork and exec, for a command that a test interrupts.

    A process that a shell without job control starts in the background ignores SIGINT.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until(
    holds: Callable[[], object],
    timeout_s: float = 30,
    describe: Callable[[], str] = lambda: "the condition does not hold",
) -> None:
    """Poll until *holds* returns something true.

    Raises:
        AssertionError: the time is up; its text comes from *describe*.
    """
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"after {timeout_s:.0f} s: {describe()}")
        time.sleep(POLL_S)
