# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drawings of the page: inline SVG that stretches with the page, with its labels as text beside it.

Marks are zero-length strokes with round caps and a stroke that does not scale, so that dots stay round at any width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from ansible_collections.boringdb.ops.plugins.module_utils._core import say

STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
MAX_TICKS = 4


@dataclass(frozen=True)
class Point:
    """One drill in a trend: seconds, and whether it was verified."""

    when: datetime
    seconds: float
    good: bool
    title: str


def trend(points: Sequence[Point], objective: float | None) -> str:
    """A trend against its objective, oldest left, with axes."""
    if not points:
        return '<p class="quiet small">Not measured yet.</p>'
    top, ticks = scale(max([point.seconds for point in points] + [objective or 0]))
    labels = "".join(
        f'<span class="y" style="bottom:{_percent(tick, top)}%">{escape(say.span(tick) if tick else "0")}</span>'
        for tick in ticks
    )
    grid = "".join(f'<path class="g" d="M0 {_y(tick, top)}H100"/>' for tick in ticks)
    first, last = points[0].when, points[-1].when
    ends = f"<span>{first:%Y-%m-%d}</span>" + (f"<span>{last:%Y-%m-%d}</span>" if len(points) > 1 else "")
    return (
        f'<div class="plot">{labels}<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(describe(points, objective))}">{grid}{_marks(points, objective, top, hover=True)}'
        "</svg></div>"
        f'<div class="x">{ends}</div>'
    )


def spark(points: Sequence[Point], objective: float | None) -> str:
    """The same without axes, for a table's cell."""
    if len(points) < 2:
        return ""
    top = max([point.seconds for point in points] + [objective or 0]) * 1.15 or 1
    return (
        '<svg class="spark" viewBox="0 0 100 100" preserveAspectRatio="none" overflow="visible" role="img" '
        f'aria-label="{escape(describe(points, objective))}">{_marks(points, objective, top, hover=False)}</svg>'
    )


def describe(points: Sequence[Point], objective: float | None) -> str:
    """The drawing in words, for those who hear it."""
    values = [point.seconds for point in points]
    aim = f", objective {say.span(objective)}" if objective else ""
    return (f"{say.plural(len(points), 'drill')}: from {say.span(min(values))} to {say.span(max(values))}, "
            f"last {say.span(values[-1])}{aim}")


def scale(largest: float) -> tuple[float, list[float]]:
    """The top of an axis and its ticks: whole seconds, minutes or hours."""
    wanted = max(largest * 1.08, STEPS[0])
    step = next((step for step in STEPS if wanted / step <= MAX_TICKS), None)
    if step is None:
        step = -(-wanted // (MAX_TICKS * 86400)) * 86400
    count = int(-(-wanted // step))
    return step * count, [step * number for number in range(count + 1)]


def _marks(points: Sequence[Point], objective: float | None, top: float, hover: bool) -> str:
    places = [(_x(index, len(points)), _y(point.seconds, top), point) for index, point in enumerate(points)]
    drawn = f'<path class="aim" d="M0 {_y(objective, top)}H100"/>' if objective else ""
    if len(places) > 1:
        drawn += '<path class="series" d="M' + "L".join(f"{x} {y}" for x, y, _point in places) + '"/>'
    for x, y, point in places:
        last = point is points[-1]
        if point.good:
            # With many drills only the newest is dotted: the line already says the rest.
            drawn += f'<path class="dot" d="M{x} {y}h0"/>' if last or (hover and len(points) <= 40) else ""
        else:
            drawn += f'<path class="ring" d="M{x} {y}h0"/><path class="hole" d="M{x} {y}h0"/>'
        if hover:
            drawn += f'<path class="hit" d="M{x} {y}h0"><title>{escape(point.title)}</title></path>'
    return drawn


def phases(parts: Sequence[tuple[str, float]]) -> str:
    """Phases of an operation as one bar, their widths as their seconds."""
    known = [(name, seconds) for name, seconds in parts if seconds >= 0]
    if not sum(seconds for _name, seconds in known):
        return ""
    bars = "".join(f'<i class="p{index % 4 + 1}" style="flex:{max(seconds, 0.0001):.4f} 0 0" title="{escape(name)}: '
                   f'{escape(say.span(seconds))}"></i>' for index, (name, seconds) in enumerate(known))
    legend = "".join(f'<span class="nowrap"><i class="p{index % 4 + 1}"></i>{escape(name)} '
                     f"<b>{escape(say.span(seconds))}</b></span>" for index, (name, seconds) in enumerate(known))
    return f'<div><h4>Phases</h4><div class="bar">{bars}</div><div class="legend">{legend}</div></div>'


@dataclass(frozen=True)
class Lane:
    """One row of a timeline: a span, a moment (``end`` is None), or only words (no ``start``)."""

    name: str
    said: str
    start: datetime | None = None
    end: datetime | None = None
    soft: bool = False


def timeline(lanes: Sequence[Lane]) -> str:
    """What lay where in time: one row each, all on one scale."""
    moments = [moment for lane in lanes for moment in (lane.start, lane.end) if moment]
    if not lanes:
        return ""
    begin, length = (min(moments), (max(moments) - min(moments)).total_seconds()) if moments else (None, 0.0)
    rows = ""
    for lane in lanes:
        mark = ""
        if lane.start and begin:
            left = 100 * (lane.start - begin).total_seconds() / length if length else 50.0
            style = f"left:{left:.3f}%"
            if lane.end:
                width = 100 * (lane.end - lane.start).total_seconds() / length if length else 0.0
                # A sliver at the right edge stays inside.
                style = f"left:min({left:.3f}%,calc(100% - 4px));width:{width:.3f}%"
            kind = ("" if lane.end else "pin") + (" soft" if lane.soft else "")
            mark = f'<div class="lane"><i class="{kind}" style="{style}"></i></div>'
        rows += f'<div>{escape(lane.name)}</div><div>{mark}<div class="said">{escape(lane.said)}</div></div>'
    return f'<div><h4>Timeline</h4><div class="gantt">{rows}</div></div>'


def _x(index: int, count: int) -> str:
    return f"{(100 * index / (count - 1)) if count > 1 else 50:.2f}"


def _y(value: float, top: float) -> str:
    return f"{100 - 100 * value / top:.2f}"


def _percent(value: float, top: float) -> str:
    return f"{100 * value / top:.2f}"
