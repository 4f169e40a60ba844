"""A plot as SVG, without a library: two axes, a grid, and a line for each curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tests.bench.result import TIMES

WIDTH, HEIGHT = 560, 380
LEFT, RIGHT, TOP, BOTTOM = 60, 120, 40, 50
#: Readable on light and dark pages, and without red-green vision.
COLOURS = ("#0072b2", "#999999", "#d55e00", "#009e73")

Curve = Sequence[tuple[float, float]]


def svg(title: str, across: str, up: str, curves: Mapping[str, Curve]) -> str:
    """Return a plot of curves with the same x values; both axes begin at 0."""
    xs = sorted({x for curve in curves.values() for x, _ in curve})
    most_x, most_y = max(xs), max(y for curve in curves.values() for _, y in curve)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            round(LEFT + (WIDTH - LEFT - RIGHT) * x / most_x, 1),
            round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / most_y, 1),
        )

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'font-family="sans-serif" font-size="13">'
        ),
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(WIDTH / 2, 22, title, size=15),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, across),
        f'<g transform="rotate(-90 16 {HEIGHT / 2})">{_text(16, HEIGHT / 2, up)}</g>',
    ]
    for x in xs:
        (left, top), (_, bottom) = place(x, most_y), place(x, 0)
        parts += [_line(left, top, left, bottom), _text(left, bottom + 18, f"{x:g}")]
    for y in xs if most_y <= most_x else [most_y * n / 4 for n in range(5)]:
        (left, height), (right, _) = place(0, y), place(most_x, y)
        parts += [_line(left, height, right, height), _text(left - 16, height + 4, f"{y:.3g}")]
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        points = [place(x, y) for x, y in curve]
        joined = " ".join(f"{x},{y}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if name == "ideal" else ""
        parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        )
        parts += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in points]
        x, y = points[-1]
        parts.append(
            _text(x + 10, y + 4, f"{name} {curve[-1][1]:.2g}{TIMES}", anchor="start", fill=colour)
        )
    return "\n".join([*parts, "</svg>", ""])


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#dddddd"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "middle", fill: str = "#222222", size: int = 13
) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{fill}" '
        f'font-size="{size}">{escape(text)}</text>'
    )
