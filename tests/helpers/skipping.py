"""Skips that are not overlooked."""

from __future__ import annotations

import os
import re
import warnings
from typing import NoReturn

import pytest


def warn_loudly(text: str) -> None:
    """Warn without failing, as other warnings do: pytest lists warnings at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(text, stacklevel=3)


def skip_loudly(untested: str, reason: object) -> NoReturn:
    """Skip, and warn about what stays untested."""
    warn_loudly(f"{untested}: {reason}")
    pytest.skip(f"{untested}: {reason}")


#: What pip and uv say if no package index can be reached, or if it answers with an error of its
#: own. pip, told to be quiet, says no more than that it has found no such version.
NO_INDEX = re.compile(
    r"no matching distribution|error sending request|dns error|name or service not known"
    r"|name resolution|network is unreachable|network connectivity|no route to host"
    r"|connection (?:\w+ )?(?:aborted|broken|closed|error|refused|reset)|proxy ?error|timed? ?out"
    r"|new connection|max retries|incomplete ?read|http status server error|\b(?:429|5\d\d) "
    r"(?:server|too many|internal|bad gateway|service|gateway)",
    re.IGNORECASE,
)


def is_network_down(said: str) -> bool:
    """Return whether pip or uv failed because of the network, by what they said."""
    return NO_INDEX.search(said) is not None


def need_root(untested: str) -> None:
    """Skip unless this process is root's: only root can become another user."""
    if os.geteuid() != 0:
        skip_loudly(untested, "only root can become another user")
