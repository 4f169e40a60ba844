"""Farms for the functional tests: one with two workers that all share, and others on demand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.farm import Farm
from tests.functional.guarded import Guarded
from tests.sandbox import Sandbox

MakeFarm = Callable[..., Farm]

# Database 15 is the shared farm's: its workers must not take what other tests put into 0.
_databases = itertools.cycle(range(1, 13))
# For farms that a module shares; the farm of the previous module may still be shutting down.
_module_databases = itertools.cycle((13, 14))


@pytest.fixture(scope="session")
def running_farm(
    running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farm]:
    """Two workers, started once: each start and stop takes a second or two."""
    with Farm(running_sandbox, tmp_path_factory.mktemp("farm"), database=15) as farm:
        yield farm


@pytest.fixture
def farm(running_farm: Farm) -> Farm:
    """Two workers with nothing to do, on a sandbox as if just started."""
    running_farm.start()  # workers that a test has stopped
    running_farm.sandbox.faults.clear()
    running_farm.wait_quiet()
    running_farm.sandbox.reset()
    return running_farm


@pytest.fixture(scope="module")
def guarded(
    running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """One worker on a Redis with the users of deploy/redis, started once for a module."""
    made = Guarded(running_sandbox, tmp_path_factory.mktemp("guarded"))
    try:
        with made.farm:
            yield made
    finally:
        made.server.stop()


@pytest.fixture(scope="module")
def running_sealed(
    running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, leaving: list[Farm]
) -> Iterator[Farm]:
    """One worker with two keys, as during a change of keys, started once for a module."""
    folder = tmp_path_factory.mktemp("sealed")
    keys = ",".join(Fernet.generate_key().decode() for _ in range(2))
    env = {"FARMHAUL_SECRET_KEY": keys, "FARMHAUL_SPOOL": str(folder / "spool")}
    options = ("--concurrency=1", "--without-gossip", "--without-mingle")
    database = next(_module_databases)
    farm = Farm(running_sandbox, folder, 1, options=options, database=database, env=env)
    yield farm
    farm.terminate()
    leaving.append(farm)


@pytest.fixture
def sealed(running_sealed: Farm) -> Farm:
    """A worker with a key and nothing to do, on a sandbox as if just started."""
    running_sealed.start()  # workers that a test has stopped
    running_sealed.sandbox.faults.clear()
    running_sealed.wait_quiet()
    running_sealed.sandbox.reset()
    worker = running_sealed.workers[0]
    worker._log_start = worker.log.stat().st_size
    return running_sealed


@pytest.fixture(scope="session")
def leaving(running_sandbox: Sandbox) -> Iterator[list[Farm]]:
    """Farms whose workers shut down: that takes 2 s, and no test waits for it."""
    farms: list[Farm] = []
    yield farms
    for farm in farms:
        farm.stop()


@pytest.fixture
def make_farm(sandbox: Sandbox, tmp_path: Path, leaving: list[Farm]) -> Iterator[MakeFarm]:
    """Make and start farms with their own options, on Redis databases of their own."""
    made: list[Farm] = []

    def make(workers: int = 1, **options: Any) -> Farm:
        database = next(_databases)
        farm = Farm(sandbox, tmp_path / f"farm{database}", workers, database=database, **options)
        made.append(farm)
        farm.start()
        return farm

    yield make
    for farm in made:
        farm.terminate()
    leaving += made


@pytest.fixture
def hook(make_farm: MakeFarm) -> Farm:
    """A farm without workers: uploads stay where a hook has put them."""
    return make_farm(workers=0)
