"""No hook has a notion of frames of its own: farmhaul reads them, or the manager's library."""

from __future__ import annotations

import re

import pytest

from tests.farm_hooks.stand import HOOKS

#: What uses a regular expression, in Python and in JavaScript.
USES = (
    r"\bimport re\b|\bfrom re\b|\bre\.[a-z]+\(|RegExp|\.(?:match|exec|search|replace)\(/|= /[^/*]"
)


@pytest.mark.parametrize(
    "path",
    sorted(
        str(path.relative_to(HOOKS))
        for path in HOOKS.rglob("*")
        if path.suffix in {".py", ".js", ".yaml"}
    ),
)
def test_no_hook_has_a_regular_expression(path: str) -> None:
    assert re.findall(USES, (HOOKS / path).read_text(encoding="utf-8")) == []
