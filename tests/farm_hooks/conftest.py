"""A hook as a farm installs it, and a farm of one worker that takes in what hooks queue."""

from __future__ import annotations

import importlib.util
import json
import shutil
import statistics
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from tasks.intake.envelope import open_entry
from tasks.intake.from_wire import from_wire
from tasks.intake.inbox import INBOX
from tasks.intake.request import PublishRequest, Request
from tests.farm import Farm
from tests.farm_hooks.stand import write_settings
from tests.helpers.pyz import NAME, built_pyz
from tests.sandbox import Sandbox
from tests.sandbox.process import NO_REDIS
from tests.sandbox.redis_server import RedisServer


class TellP95(Protocol):
    """Prints how long hooks took, and how many times as long as something else; returns the p95."""

    def __call__(self, name: str, seconds: Sequence[float], least: float = 0.0) -> float: ...


class Installed:
    """A folder with farmhaul-hook.pyz and hook.env, and what hooks have sent by it."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self.folder = folder
        self.file = folder / NAME
        self.spool = folder / "spool"
        self._url = server.url
        self._client = server.client()
        self._client.delete(INBOX)
        folder.mkdir()
        shutil.copy(built_pyz(), folder)
        self.configure()

    def configure(self, **settings: str) -> None:
        """Write hook.env."""
        known = {
            "FARMHAUL_REDIS_URL": self._url,
            "FARMHAUL_STORAGE_ROOTS": "/mnt",
            "FARMHAUL_SPOOL": str(self.spool),
        }
        write_settings(self.folder / "hook.env", {**known, **settings})

    def break_down(self) -> None:
        """Let uploads be neither queued nor spooled."""
        (self.folder / "file").touch()
        spool = str(self.folder / "file")
        self.configure(FARMHAUL_REDIS_URL=NO_REDIS, FARMHAUL_SPOOL=spool)

    @property
    def command(self) -> tuple[str, ...]:
        """How managers start the hook."""
        return (sys.executable, "-I", "-S", "-X", "utf8", str(self.file))

    @property
    def requests(self) -> list[Request]:
        """What lies in the inbox, oldest first."""
        entries = [str(entry).encode() for entry in self._client.lrange(INBOX, 0, -1)[::-1]]
        return [from_wire(values) for one in entries for values in open_entry(one, ()).requests]

    @property
    def queued(self) -> list[tuple[str, str]]:
        """The path of each component in the inbox, and its name."""
        return [one for request in self.requests for one in _components(request)]

    @property
    def left(self) -> list[Path]:
        """The files in the spool."""
        return sorted(path for path in self.spool.rglob("*") if path.is_file())

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the manifests in the spool."""
        return [json.loads(line) for path in self.left for line in path.read_text().splitlines()]


def _components(request: Request) -> Iterator[tuple[str, str]]:
    if not isinstance(request, PublishRequest):
        yield request.path, str(request.target.name)
        return
    for container in request.publish.containers:
        # The id of a sequence alone is that of its request.
        is_alone = container.target.component_id == request.component_id
        yield request.path if is_alone else container.pattern, str(container.target.name)
    for file in request.files:
        if file.target.container_id is None:
            yield file.path, str(file.target.name)


def load(path: Path, **values: Any) -> Any:
    """Import a script from its place, and set constants that a farm would set in it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in values.items():
        setattr(module, name, value)
    return module


def looking_up(values: Mapping[str, str]) -> Any:
    """What managers answer of keys they do not know: an empty text."""
    return lambda key: values.get(key, "")


@pytest.fixture
def installed(tmp_path: Path, redis_server: RedisServer) -> Iterator[Installed]:
    yield Installed(tmp_path / "hook ü", redis_server)
    # The next test has a file of its own.
    for name in [name for name in sys.modules if name.partition(".")[0] == "farmhaul_hook"]:
        del sys.modules[name]


@pytest.fixture(scope="package")
def running_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A worker as on a render node, with a spool and with paths of its own."""
    # On the shared sandbox, which tests here stop Redis of, other workers would notice.
    with Sandbox.start(tmp_path_factory.mktemp("sandbox")) as sandbox:
        env = {
            "FARMHAUL_SPOOL": str(tmp_path_factory.mktemp("spool")),
            "FARMHAUL_PATH_MAP": f"W:\\={sandbox.storage}",
        }
        with Farm(sandbox, tmp_path_factory.mktemp("farm"), workers=1, env=env) as one:
            yield one


@pytest.fixture
def farm(running_farm: Farm) -> Farm:
    running_farm.wait_quiet()
    running_farm.sandbox.reset()
    return running_farm


@pytest.fixture
def out(farm: Farm) -> Path:
    """The folder that a job renders into."""
    folder = farm.sandbox.storage / uuid.uuid4().hex[:12]
    folder.mkdir()
    return folder


@pytest.fixture
def tell_p95(capsys: pytest.CaptureFixture[str]) -> TellP95:
    """Say how long hooks took, and return the p95; other programs use this machine as well."""

    def tell(name: str, seconds: Sequence[float], least: float = 0.0) -> float:
        p50 = statistics.median(seconds)
        p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
        shown = f"p50 {p50:.3f} s, p95 {p95:.3f} s, longest {max(seconds):.3f} s"
        if least:
            shown += f", {p95 / least:.2f} times as long as those"
        with capsys.disabled():
            print(f"\n{name}: {shown} ({len(seconds)} hooks)")
        return p95

    return tell
