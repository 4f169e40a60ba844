"""Who may ask a server on loopback: only what its own machine asks for."""

from __future__ import annotations

import pytest

from workers.loopback import is_from_here


@pytest.mark.parametrize(
    ("origin", "fits"),
    [
        (None, True),
        ("http://127.0.0.1:5555", True),
        ("http://127.0.0.1:9840", False),
        ("http://example.com", False),
        ("http://[", False),
        ("null", False),
        ("", False),
    ],
)
def test_only_a_page_of_its_own_may_ask(origin: str | None, fits: bool) -> None:
    assert is_from_here("127.0.0.1:5555", origin, "same-origin") is fits
