"""Skips that are not overlooked."""

from __future__ import annotations

import os
import warnings
from typing import NoReturn

import pytest


def skip_loudly(untested: str, reason: object) -> NoReturn:
    """Skip, and warn about what stays untested: pytest lists warnings at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"{untested}: {reason}", stacklevel=2)
    pytest.skip(f"{untested}: {reason}")


def need_root(untested: str) -> None:
    """Skip unless this process is root's: only root can become another user."""
    if os.geteuid() != 0:
        skip_loudly(untested, "only root can become another user")
