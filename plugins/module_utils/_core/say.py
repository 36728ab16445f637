# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How numbers, spans and moments are said to a person. Used by every form of the report."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.statement import parse_time

NONE = "–"
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~])")


def span(seconds: Any) -> str:
    """``0.84 s``, ``41.2 s``, ``4 min 12 s``, ``2 h 05 min``, ``3 d 4 h``."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return NONE
    if seconds < 0:
        return "-" + span(-seconds)
    if seconds < 59.95:
        digits = 2 if seconds < 0.995 else 1
        return f"{seconds:.{digits}f}".rstrip("0").rstrip(".") + " s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s" if whole % 60 else f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min" if whole % 3600 >= 60 else f"{whole // 3600} h"
    return f"{whole // 86400} d {whole % 86400 // 3600} h" if whole % 86400 >= 3600 else f"{whole // 86400} d"


def size(count: Any) -> str:
    """``812 B``, ``3.2 GB``: powers of ten, as disks are sold."""
    if isinstance(count, bool) or not isinstance(count, (int, float)):
        return NONE
    number = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(number) < 999.5 or unit == "TB":
            return f"{number:.0f} {unit}" if unit == "B" or abs(number) >= 99.95 else f"{number:.1f} {unit}"
        number /= 1000
    return NONE


def number(value: Any) -> str:
    """A measurement or a check's value as text; thousands are set apart, floats are short."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".").replace(",", " ")
    return str(value)


def measurement(name: str, value: Any) -> str:
    """A measurement in the unit that its name carries."""
    if name.endswith("_seconds"):
        return span(value)
    if name.endswith("_bytes"):
        return size(value)
    when = moment_or_none(value)
    return when.strftime("%Y-%m-%d %H:%M:%S") if when else number(value)


def moment_or_none(value: Any) -> datetime | None:
    """A time in a record, or None where it is none."""
    try:
        return parse_time(value)
    except ValueError:
        return None


def clock(when: datetime) -> str:
    """``2026-10-01 03:04 UTC``."""
    return when.strftime("%Y-%m-%d %H:%M UTC")


def ago(when: datetime, now: datetime) -> str:
    """``1 day ago``, ``in 3 days``: whole days, so that a page ages once a day. Those ahead are rounded."""
    days = (now - when) // timedelta(days=1)
    if days < 0:
        ahead = round((when - now) / timedelta(days=1)) if when - now >= timedelta(days=1) else 0
        return "in less than a day" if ahead == 0 else f"in {ahead} day{'s' * (ahead != 1)}"
    if days == 0:
        return "less than a day ago"
    return f"{days} day{'s' * (days != 1)} ago"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 drill``, ``3 drills``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def markdown(text: str) -> str:
    """Text that stays text in Markdown: no markup, no HTML, no new line."""
    plain = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def iso(when: datetime) -> str:
    """``2026-10-01T03:04:00Z``."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
