"""Skips that are not overlooked."""

from __future__ import annotations

import warnings
from typing import NoReturn

import pytest


def skip_loudly(untested: str, reason: object) -> NoReturn:
    """Skip, and warn about what stays untested: pytest lists warnings at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"{untested}: {reason}", stacklevel=2)
    pytest.skip(f"{untested}: {reason}")
