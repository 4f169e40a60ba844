"""Whole numbers as values of options."""

from __future__ import annotations

from typing import Any

import click


class Whole(click.IntRange):
    """A whole number; click itself speaks of an integer range, and of x>=1."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            end = "" if self.max is None else f" to {self.max}"
            text = f"{value!r} is not a whole number from {self.min}{end}"
            raise click.BadParameter(text, ctx, param) from None
