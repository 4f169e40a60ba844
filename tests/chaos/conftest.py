"""A sandbox whose Redis may be broken, and farms with short leases."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.farm import Farm
from tests.sandbox import Sandbox

MakeFarm = Callable[..., Farm]

LEASE_S = 3.0

# Redis database 0 is the shared farm's.
_databases = itertools.cycle(range(1, 16))


@pytest.fixture(scope="package")
def running_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox of its own: workers of other tests must not meet these Redis kills."""
    folder = tmp_path_factory.mktemp("chaos")
    with Sandbox.start(folder, redis_extra=["enable-debug-command local"]) as sandbox:
        yield sandbox


@pytest.fixture(scope="package")
def running_farm(
    running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farm]:
    """Two workers with a lease of 3 s; a killed one is started again for the next test."""
    env = {"FARMHAUL_LEASE_SECONDS": str(LEASE_S)}
    with Farm(running_sandbox, tmp_path_factory.mktemp("farm"), env=env) as farm:
        yield farm


@pytest.fixture
def farm(running_farm: Farm) -> Farm:
    """Two workers with nothing to do, on a sandbox as if just started."""
    running_farm.sandbox.redis.start()
    running_farm.sandbox.faults.clear()
    running_farm.start()
    running_farm.wait_quiet()
    running_farm.sandbox.reset()
    return running_farm


@pytest.fixture
def make_farm(sandbox: Sandbox, tmp_path: Path) -> Iterator[MakeFarm]:
    """Make and start farms with their own options, on Redis databases of their own."""
    with ExitStack() as farms:

        def make(
            workers: int = 1, *, lease_s: float = LEASE_S, env: Any = None, **options: Any
        ) -> Farm:
            database = next(_databases)
            environment = {"FARMHAUL_LEASE_SECONDS": str(lease_s), **(env or {})}
            return farms.enter_context(
                Farm(
                    sandbox,
                    tmp_path / f"farm{database}",
                    workers,
                    database=database,
                    env=environment,
                    **options,
                )
            )

        yield make
        sandbox.redis.start()
        sandbox.faults.clear()


@pytest.fixture
def hook(make_farm: MakeFarm) -> Farm:
    """A farm without workers: uploads stay where a hook has put them."""
    return make_farm(workers=0)
