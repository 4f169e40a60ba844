"""All the servers of the sandbox together."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import seed
from .clients import Control, FaultsClient, FtrackClient, StoreClient
from .config import FrontConfig, FtrackConfig
from .process import Child, NotReady, accepts, free_ports, python_module
from .redis_server import RedisServer
from .seaweed import SeaweedServer


class Sandbox:
    """ftrack, its media store and Redis, on free ports of 127.0.0.1, data in *folder*.

    A context manager. With ``Sandbox.start`` it already runs, until ``stop`` or the end of the
    interpreter; it ends with the interpreter even if that is killed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store_proxy: bool = True,
        url_lifetime_s: float = 3600,
        encode_s: float = 0.2,
        schemas: Path | None = None,
        api_threads: int = 8,
        redis_password: str = "",
        redis_extra: Sequence[str] = (),
    ) -> None:
        """Prepare; nothing runs yet.

        With *store_proxy* off, URLs lead to SeaweedFS itself, for benchmarks: no fault can strike,
        and the journal has no request to the store.
        """
        self.folder = folder.resolve()
        self.storage = self.folder / "storage"
        self.storage.mkdir(parents=True, exist_ok=True)
        self.redis = RedisServer(self.folder / "redis", password=redis_password, extra=redis_extra)
        self._options: dict[str, Any] = {
            "url_lifetime_s": url_lifetime_s,
            "encode_s": encode_s,
            "schemas": str(schemas.resolve()) if schemas else None,
            "threads": api_threads,
        }
        self._store_proxy = store_proxy
        self._seaweed: SeaweedServer | None = None
        self._children: list[Child] = []
        self._control: Control | None = None

    @classmethod
    def start(cls, folder: Path, **options: Any) -> Self:
        """Start everything in *folder*; the options are those of the class."""
        sandbox = cls(folder, **options)
        sandbox.launch()
        return sandbox

    def launch(self) -> None:
        for tries_left in (2, 1, 0):
            try:
                return self._launch()
            except NotReady:
                # Another process may have taken a port before the server bound it.
                self.stop()
                shutil.rmtree(self.folder / "store", ignore_errors=True)
                if not tries_left:
                    raise
            except BaseException:
                self.stop()
                raise
        return None

    def _launch(self) -> None:
        # All at once, then wait for each: the slowest (SeaweedFS, about 3 s) decides.
        self._seaweed = SeaweedServer(self.folder / "store")
        self.redis.launch()
        front_port, ftrack_port, store_port = free_ports(3)
        self.ftrack_url = f"http://127.0.0.1:{front_port}"
        proxied = f"http://127.0.0.1:{store_port}"
        self.store_url = proxied if self._store_proxy else self._seaweed.endpoint
        ftrack_config = self.folder / "ftrack.json"
        FtrackConfig(
            port=ftrack_port,
            store_endpoint=self._seaweed.endpoint,
            signed_endpoint=self.store_url,
            **self._options,
        ).save(ftrack_config)
        front_config = self.folder / "front.json"
        FrontConfig(front_port, ftrack_port, store_port, self._seaweed.port).save(front_config)
        ftrack = self._run("ftrack", ftrack_config)
        front = self._run("front", front_config)
        ftrack.wait_ready(lambda: accepts(ftrack_port))
        front.wait_ready(lambda: accepts(front_port) and accepts(store_port))
        self.redis.wait_ready()
        self._seaweed.wait_ready()
        control = self._control = Control(self.ftrack_url, f"http://127.0.0.1:{ftrack_port}")
        self.ftrack = FtrackClient(control)
        self.store = StoreClient(control, self._seaweed.endpoint)
        self.faults = FaultsClient(control)

    def _run(self, name: str, config: Path) -> Child:
        command = python_module(f"{__package__}.{name}", str(config))
        child = Child(name, command, self.folder / f"{name}.log")
        self._children.append(child)
        return child

    @property
    def env(self) -> dict[str, str]:
        """The environment that workers and the command line need."""
        return {
            "FTRACK_SERVER": self.ftrack_url,
            "FTRACK_API_USER": seed.API_USER,
            "FTRACK_API_KEY": seed.API_KEY,
            "FARMHAUL_REDIS_URL": self.redis.url,
            "FARMHAUL_STORAGE_ROOTS": str(self.storage),
        }

    def reset(self) -> None:
        """Restore the seeded entities; remove faults and journal; empty Redis.

        Objects stay in the store: their keys are component ids, which tests do not share.
        Redis is started again if a test has left it down.
        """
        if self._control is None:
            raise RuntimeError("the sandbox is not running")
        self._control.call("POST", "reset")
        self.redis.start()
        self.redis.flush()

    def stop(self) -> None:
        """Stop all servers: first ask each, then wait for each."""
        if self._control is not None:
            self._control.close()
            self.store.close()
            self._control = None
        for child in self._children:
            child.terminate()
        if self._seaweed is not None:
            self._seaweed.terminate()
        for child in self._children:
            child.stop()
        self._children.clear()
        self.redis.stop()
        if self._seaweed is not None:
            self._seaweed.stop()

    def __enter__(self) -> Self:
        if not self._children:
            self.launch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
