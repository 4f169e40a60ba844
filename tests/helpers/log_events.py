"""The log events that the code can write."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from tests.sandbox.process import CHECKOUT

LEVELS = ("debug", "info", "warning", "error", "exception")


class LoggedEvent(NamedTuple):
    """One call of the log: where it is, its level, and the name if it is a constant."""

    where: str
    level: str
    name: str | None


def logged_events() -> Iterator[LoggedEvent]:
    for folder in ("tasks", "workers"):
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                if ast.unparse(node.func.value) == "log" and node.func.attr in LEVELS:
                    first = node.args[0]
                    name = str(first.value) if isinstance(first, ast.Constant) else None
                    where = f"{path.relative_to(CHECKOUT)}:{node.lineno}"
                    yield LoggedEvent(where, node.func.attr, name)
