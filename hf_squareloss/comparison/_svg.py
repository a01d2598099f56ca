"""Parts of pictures as SVG: scales, ticks, axes, marks. Colours and fonts come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 340.0  # of every picture, in its own units: about a phone's pixels, so that text has its size there
MARGIN = 12.0
SERIES = 8  # colours; series beyond share the last one


@dataclass(frozen=True)
class Scale:
    """From values to places: linear or logarithmic, from `low` at `start` to `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (
            (math.log(v) for v in (self.low, self.high, value))
            if self.logarithmic
            else (
                self.low,
                self.high,
                value,
            )
        )
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def clamped(self, value: float) -> float:
        """The place of a value, or the nearer end where it lies beyond."""
        return self(min(max(value, self.low), self.high))

    def ticks(self) -> list[float]:
        """About five round values within the scale."""
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            candidates = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
            inside = [value for value in candidates if self.low <= value <= self.high]
            return inside if len(inside) <= 8 else [v for v in inside if f"{v:e}"[0] == "1"] or inside[:8]
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first
        return [round((first + place) * step, 12) for place in range(count + 1)]


def scale(values: Iterable[float], start: float, end: float, *, logarithmic: bool = False) -> Scale:
    """A scale that holds the values with a little room around them."""
    found = list(values) or [0.0, 1.0]
    low, high = min(found), max(found)
    if logarithmic:
        room = (high / low) ** 0.05 if high > low else 1.5
        return Scale(low / room, high * room, start, end, logarithmic=True)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return Scale(low - room, high + room, start, end)


def shown_range(points: Sequence[float], intervals: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The values that a scale must hold: every point, and of the intervals what does not flatten the points.

    Beyond the points there is as much room as they span, or as the shortest interval does: with two seeds an interval
    reaches thirteen standard errors to each side.
    """
    low, high, found = min(points), max(points), list(intervals)
    room = max(high - low, min((b - a for a, b in found), default=0.0))
    below, above = (min((a for a, _ in found), default=low), max((b for _, b in found), default=high))
    return max(min(low, below), low - room), min(max(high, above), high + room)


def picture(height: float, parts: Iterable[str], description: str) -> str:
    """An SVG element; the description is what a screen reader says."""
    words = escape(description)
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{words}"><title>{words}</title>'
        f"{''.join(parts)}</svg>"
    )


def standalone(svg: str, style: str) -> str:
    """A picture as a file of its own, with its style sheet and on its own ground."""
    opening, rest = svg.split(">", 1)
    ground = f'<style>{style}</style><rect width="100%" height="100%" fill="var(--paper)"/>'
    return f'{opening} xmlns="http://www.w3.org/2000/svg">{ground}{rest}\n'


def text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "") -> str:
    """Words at a place; `kind` is a class of the style sheet."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def dot(x: float, y: float, hint: str, kind: str = "dot") -> str:
    """A point that says its value when it is pointed at."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" class="{kind}"><title>{escape(hint)}</title></circle>'


def path(points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> str:
    places = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{places}{"Z" if closed else ""}" class="{kind}"/>'


def group(place: int, parts: Iterable[str]) -> str:
    """Parts in the colour of a series."""
    return f'<g class="s{min(place, SERIES - 1)}">{"".join(parts)}</g>'


def bottom_axis(
    horizontal: Scale, y: float, title: str, *, grid_from: float | None = None, whole: bool = False
) -> list[str]:
    """Ticks, numbers and title below y; lines of a grid up to `grid_from`; whole numbers alone where there are any."""
    ticks = horizontal.ticks()
    ticks = [tick for tick in ticks if tick == round(tick)] or ticks if whole else ticks
    parts = [line(horizontal.start, y, horizontal.end, y)]
    if grid_from is not None:
        parts += [line(horizontal(tick), grid_from, horizontal(tick), y, "grid") for tick in ticks]
    parts += [text(horizontal(tick), y + 14, f"{tick:g}", anchor="middle", kind="tick") for tick in ticks]
    middle = (horizontal.start + horizontal.end) / 2
    return [*parts, text(middle, y + 30, title, anchor="middle", kind="title")]


def left_axis(vertical: Scale, left: float, right: float) -> list[str]:
    """Numbers at the left, and lines of a grid."""
    ticks = vertical.ticks()
    parts = [line(left, vertical(tick), right, vertical(tick), "grid") for tick in ticks]
    return parts + [text(left - 5, vertical(tick) + 4, f"{tick:g}", anchor="end", kind="tick") for tick in ticks]


def _round_step(step: float) -> float:
    """The next larger of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= step * (1 - 1e-9))
