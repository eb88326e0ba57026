"""Lines on two logarithmic scales, as SVG: enough for a cost against a size, without a library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 420, 300, 56, 34, 100, 44
MANY_TENS = 2.5
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


@dataclass(frozen=True)
class Line:
    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    title: str
    below: str
    lines: list[Line]


def svg(panels: list[Panel]) -> str:
    """The panels side by side."""
    width = WIDTH * len(panels)
    body = "".join(
        f'<g transform="translate({WIDTH * i} 0)">{_panel(panel)}</g>\n' for i, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n{body}</svg>\n'
    )


def _panel(panel: Panel) -> str:
    xs = [x for line in panel.lines for x, _ in line.points]
    ys = [y for line in panel.lines for _, y in line.points]
    across = _Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _Scale(min(ys), max(ys), HEIGHT - BOTTOM, TOP)
    out = [f'<text x="{LEFT}" y="20" font-size="13">{escape(panel.title)}</text>']
    out.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(panel.below)}</text>'
    )
    for tick in across.ticks():
        x = across(tick)
        out.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:,g}</text>')
    for tick in up.ticks():
        y = up(tick)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    for i, line in enumerate(panel.lines):
        colour = COLOURS[i % len(COLOURS)]
        places = [(across(x), up(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        x, y = places[-1]
        out.append(f'<text x="{x + 7:.1f}" y="{y + 4:.1f}" fill="{colour}">{escape(line.name)}</text>')
    return "\n".join(out)


class _Scale:
    """From values between `low` and `high` to places between `start` and `end`, with some room at both ends."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._high = math.log10(low) - 0.1, math.log10(high) + 0.1
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        part = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + part * (self._end - self._start)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times powers of ten, or powers alone where there are many."""
        tens = range(math.floor(self._low), math.ceil(self._high) + 1)
        digits = (1,) if self._high - self._low > MANY_TENS else (1, 2, 5)
        every = [digit * 10.0**ten for ten in tens for digit in digits]
        return [value for value in every if self._low <= math.log10(value) <= self._high]
