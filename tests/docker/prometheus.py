"""Debian's prometheus and promtool."""

from __future__ import annotations

import shutil

from tests.debian import unpacked


def program(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``.

    Raises:
        NoPackages: Debian's packages are not available here.
    """
    return shutil.which(name) or str(unpacked("prometheus", ["prometheus"]) / "usr" / "bin" / name)
