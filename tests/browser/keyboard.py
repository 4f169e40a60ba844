"""Pages used by the keyboard alone."""

from __future__ import annotations

from typing import Any

#: More than any page has of what can have the focus before what a test looks for.
MOST_TABS = 80


def tab_to(page: Any, what: str) -> None:
    """Press Tab until what CSS calls *what* has the focus, which has to show."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if page.locator(f"{what}:focus").count():
            break
    style = page.locator(f"{what}:focus").evaluate(
        "one => [getComputedStyle(one).outlineStyle, getComputedStyle(one).boxShadow]"
    )
    assert style != ["none", "none"], f"{what} looks the same with the focus"
