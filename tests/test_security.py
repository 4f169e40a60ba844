"""What SECURITY.md names as shown by a test has that test."""

from __future__ import annotations

import re

from tests.sandbox.process import CHECKOUT

TEXT = (CHECKOUT / "SECURITY.md").read_text(encoding="utf-8")


def test_each_test_that_the_security_policy_names_is_there() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (CHECKOUT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)", "\n".join(sources), re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 20
    assert named - known == set()


def test_each_file_that_the_security_policy_names_is_there() -> None:
    named = set(re.findall(r"`((?:tasks|workers|tests|deploy)/[\w./-]+)`", TEXT))
    assert [name for name in sorted(named) if not (CHECKOUT / name).exists()] == []


def test_each_cell_of_the_table_of_positions_names_a_test() -> None:
    _, _, part = TEXT.partition("### What each position can do at most\n")
    table = [line for line in part.splitlines() if line.startswith("|")][:9]
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table)
    assert [row[0] for row in rows] == [
        "hook node", "operator", "Redis client", "ftrack", "store", "local user", "network",
    ]  # fmt: skip
    assert [
        (row[0], title)
        for row in rows
        for title, cell in zip(head[1:], row[1:], strict=True)
        if not re.search(r"`test_\w+`", cell)
    ] == []
