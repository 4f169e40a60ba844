"""The browser that the tests of Flower's pages share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.chromium import NoBrowser, chromium
from tests.helpers.skipping import skip_loudly


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Playwright's ``Browser``."""
    try:
        with chromium() as running:
            yield running
    except NoBrowser as error:
        skip_loudly("NO PAGE OF FLOWER WAS TESTED", error)
