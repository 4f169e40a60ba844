"""Farms to attack, and what an attacker tries from each position in SECURITY.md."""

from __future__ import annotations

from tests.functional.conftest import (
    farm,
    guarded,
    leaving,
    make_farm,
    running_farm,
    running_sealed,
    sealed,
)

__all__ = [
    "farm",
    "guarded",
    "leaving",
    "make_farm",
    "running_farm",
    "running_sealed",
    "sealed",
]
