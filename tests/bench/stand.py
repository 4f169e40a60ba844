"""The test stand of the benchmarks: sink, Redis, files, workers, and rivals on the same servers."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.bench.measure import RedisUse, Usage, cpu_s
from tests.bench.rivals.job import Job
from tests.bench.sink import Sink
from tests.farm import BIN, Worker
from tests.helpers.take_in import take_in
from tests.sandbox import seed
from tests.sandbox.process import CHECKOUT, python_module
from tests.sandbox.redis_server import RedisServer

TIMEOUT_S = 300.0


class Stand:
    """A context manager; every process that it starts ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.storage.mkdir(parents=True)
        self.redis = RedisServer(folder / "redis")
        self.sink = Sink(folder)
        self.workers: list[Worker] = []
        self._extra_env: Mapping[str, str] = {}
        self._tags = itertools.count(1)

    def __enter__(self) -> Self:
        self.redis.start()
        self.sink.__enter__()
        # Redis may have to wait for a core, as all others here.
        self.client = self.redis.client(TIMEOUT_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_workers()
        self.client.close()
        self.sink.__exit__(kind, error, trace)
        self.redis.stop()

    @property
    def env(self) -> dict[str, str]:
        return {
            **self.sink.env,
            "FARMHAUL_REDIS_URL": self.redis.url,
            "FARMHAUL_STORAGE_ROOTS": str(self.storage),
            **self._extra_env,
        }

    # Files

    def files(self, count: int, size: int, name: str) -> list[str]:
        """Return the paths of so many files of random bytes; each is written once."""
        folder = self.storage / f"{name}.{size}"
        folder.mkdir(exist_ok=True)
        paths = [folder / f"{name}.{number:05}.exr" for number in range(count)]
        for path in paths:
            if not path.exists():
                with path.open("wb") as file:
                    for start in range(0, size, 1 << 24):
                        file.write(random.randbytes(min(1 << 24, size - start)))
        return [str(path) for path in paths]

    def sparse(self, size: int) -> str:
        """Return the path of a sparse file."""
        path = self.storage / f"sparse.{size}.mov"
        with path.open("wb") as file:
            file.truncate(size)
        return str(path)

    # Workers

    @contextmanager
    def farm(
        self,
        workers: int = 1,
        processes: int = 2,
        env: Mapping[str, str] | None = None,
        *,
        warm: bool = True,
    ) -> Iterator[None]:
        """Run workers of so many processes; *env* is for all commands meanwhile."""
        self._extra_env = env or {}
        self.workers = [
            Worker(
                f"w{number}",
                self.folder,
                self.env,
                options=(f"--concurrency={processes}",),
                command="farmhaul",
            )
            for number in range(1, workers + 1)
        ]
        try:
            for worker in self.workers:
                worker.launch()
            for worker in self.workers:
                worker.wait_ready(TIMEOUT_S)
            if warm:
                self._warm(workers * processes)
            yield
        finally:
            self.stop_workers()
            self._extra_env = {}

    def stop_workers(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.stop()
        self.workers = []

    def _warm(self, processes: int) -> None:
        # A process makes its clients at its first task; no figure should include that.
        files = self.files(8 * processes, 1000, "warm")
        for _ in range(3):
            self.haul(files)

    @property
    def pids(self) -> list[int]:
        """The main processes of the workers."""
        return [worker.pid for worker in self.workers]

    @property
    def pool_pids(self) -> list[int]:
        return [pid for worker in self.workers for pid in worker.pool_pids()]

    # Runs

    def far(self, latency_s: float, bytes_s: float | None = None) -> None:
        """Give API and store a latency; a new connection takes it twice."""
        self.sink.conduct(latency_s=latency_s, connect_s=latency_s, bytes_s=bytes_s)

    def haul(self, files: Sequence[str]) -> Usage:
        """``farmhaul enqueue --manifest … --wait``, cold, until it returns."""
        usage = self.enqueue(files, "--wait")
        located = usage.api["located"]
        if located != len(files):
            raise RuntimeError(f"{located} of {len(files)} files were located")
        return usage

    def enqueue(self, files: Sequence[str], *options: str) -> Usage:
        """``farmhaul enqueue --manifest``, cold, until it returns."""
        tag = self.tag()
        manifest = self.folder / f"{tag}.jsonl"
        with manifest.open("w") as lines:
            for number, path in enumerate(files):
                entry = {"path": path, "version_id": seed.VERSION_ID, "name": f"{tag}.{number}"}
                lines.write(json.dumps(entry) + "\n")
        command = [BIN / "farmhaul", "enqueue", "--manifest", manifest, *options]
        return self._timed([str(word) for word in command])[0]

    def take_in(self) -> None:
        """Write the records of what was enqueued while no worker runs."""
        take_in({**os.environ, **self.env})

    def rival(
        self, name: str, files: Sequence[str], *, keep: bool = False, **options: str
    ) -> Usage:
        """Run one of ``tests.bench.rivals``; its seconds do not include its start.

        With *keep*, the sink keeps what it has.
        """
        command = python_module(f"{__package__}.rivals.{name}", self.job(files, **options))
        usage, output = self._timed(command, quiet=keep)
        figures: dict[str, Any] = json.loads(output.splitlines()[-1])
        for figure, value in figures.items():
            setattr(usage, figure, value)
        return usage

    def job(self, files: Sequence[str], **options: str) -> str:
        """Return the job for a rival, as its argument."""
        job = Job(
            tuple(files),
            self.tag(),
            self.sink.api_url,
            self.sink.store_url,
            seed.API_USER,
            seed.API_KEY,
            seed.VERSION_ID,
            options,
        )
        return job.to_text()

    def run(self, command: Sequence[str]) -> Usage:
        """Run a command until it exits."""
        return self._timed(command)[0]

    def output(self, command: Sequence[str]) -> str:
        """Run a command, and return its output."""
        return self._timed(command)[1]

    def cold(self, *command: str | Path) -> float:
        """Return the wall-clock time of a command in seconds, from start to exit."""
        return self._timed([str(word) for word in command], quiet=True)[0].seconds

    def _timed(self, command: Sequence[str], *, quiet: bool = False) -> tuple[Usage, str]:
        if not quiet:
            self.sink.reset()
        redis_before = RedisUse.look(self.client)
        before = cpu_s(self.pids), cpu_s(self.pool_pids)
        began = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        usage = Usage(time.perf_counter() - began)
        if done.returncode:
            raise RuntimeError(
                f"{command[:3]} exited with {done.returncode}: {done.stderr[-2000:]}"
            )
        usage.began = time.monotonic() - usage.seconds
        usage.worker_cpu_s = cpu_s(self.pids) - before[0]
        usage.pool_cpu_s = cpu_s(self.pool_pids) - before[1]
        usage.redis = RedisUse.look(self.client).since(redis_before)
        if not quiet:
            usage.api, usage.store = self.sink.api_stats(), self.sink.store_stats()
        return usage, done.stdout

    def tag(self) -> str:
        """Return a name that no other run has."""
        return f"run{next(self._tags)}"
