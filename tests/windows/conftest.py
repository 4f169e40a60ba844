"""A Windows with Python, and farmhaul's hook on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.skipping import skip_loudly
from tests.windows.python import NoWindows, WindowsPython


@pytest.fixture(scope="session")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsPython]:
    """Windows, started once: its first start takes some seconds."""
    try:
        running = WindowsPython(tmp_path_factory.mktemp("windows") / "prefix")
    except NoWindows as error:
        skip_loudly("NOTHING WAS TESTED ON WINDOWS", error)
    try:
        yield running.start()
    finally:
        running.stop()
