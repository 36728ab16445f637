# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a cluster may be changed: maintenance windows, and freezes that stand above them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW_KEYS = {"days", "start", "end", "timezone"}
_FREEZE_KEYS = {"start", "end", "timezone", "reason"}


def closed(now: datetime, windows: Sequence[Mapping[str, Any]], freezes: Sequence[Mapping[str, Any]]) -> str:
    """Why nothing may be changed at this moment, in one line; empty when it may.

    No window at all means any time.

    :raises OpsError: when a window or a freeze can't be read
    """
    for freeze in freezes:
        start, end = _freeze(freeze)
        if start <= now < end:
            reason = f": {freeze['reason']}" if freeze.get("reason") else ""
            return f"frozen until {_said(end)}{reason}"
    spans = [span for window in windows for span in _spans(window, now)]
    if not windows or any(start <= now < end for start, end in spans):
        return ""
    ahead = min(start for start, _end in spans if start > now)
    return f"outside of its maintenance windows, the next begins {_said(ahead)}"


def _said(when: datetime) -> str:
    return when.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _spans(window: Mapping[str, Any], now: datetime) -> list[tuple[datetime, datetime]]:
    """The window around this moment: from yesterday, which may reach into today, to a week from now."""
    _keys("window", window, _WINDOW_KEYS)
    zone = _zone(window)
    days = [str(day).strip().lower()[:3] for day in _listed(window.get("days") or DAYS)]
    wrong = [day for day in days if day not in DAYS]
    if wrong:
        raise OpsError(f"refused: window {dict(window)} has no day {wrong[0]!r} (give {', '.join(DAYS)})")
    start, end = _minutes(window, "start", 0), _minutes(window, "end", 24 * 60)
    today = now.astimezone(zone).date()
    found = []
    for ahead in range(-1, 9):
        day = today + timedelta(days=ahead)
        if DAYS[day.weekday()] in days:
            # Of the wall's clock: where it is set forward or back, the window's ends stay what they say.
            last = day + timedelta(days=1) if end <= start else day
            found.append((_at(day, start, zone), _at(last, end, zone)))
    return found


def _freeze(freeze: Mapping[str, Any]) -> tuple[datetime, datetime]:
    _keys("freeze", freeze, _FREEZE_KEYS)
    if "start" not in freeze or "end" not in freeze:
        raise OpsError(f"refused: freeze {dict(freeze)} lacks its start or its end (give both, such as 2026-12-20)")
    zone = _zone(freeze)
    start, end = _moment(freeze, "start", zone), _moment(freeze, "end", zone)
    if end <= start:
        raise OpsError(f"refused: freeze {dict(freeze)} ends before it starts (correct it)")
    return start, end


def _at(day: date, minutes: int, zone: tzinfo) -> datetime:
    day += timedelta(days=minutes // 1440)
    minutes %= 1440
    return datetime(day.year, day.month, day.day, minutes // 60, minutes % 60, tzinfo=zone)


def _minutes(window: Mapping[str, Any], name: str, default: int) -> int:
    """Minutes from midnight. YAML reads an unquoted 22:00 as the number 1320, which is just that."""
    value = window.get(name, default)
    match = re.fullmatch(r"(\d{1,2}):(\d\d)", str(value).strip())
    minutes = int(match.group(1)) * 60 + int(match.group(2)) if match else -1
    if isinstance(value, int) and not isinstance(value, bool):
        minutes = value
    if not 0 <= minutes <= 24 * 60 or (match and int(match.group(2)) > 59):
        raise OpsError(f"refused: window {dict(window)}: {name} is no time of day (give it such as \"22:00\")")
    return minutes


def _moment(freeze: Mapping[str, Any], name: str, zone: tzinfo) -> datetime:
    """The start of a day, or the end of it; or the minute that is given."""
    text = str(freeze[name]).strip().replace("T", " ")
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)(?: (\d\d:\d\d)(?::\d\d)?)?", text)
    try:
        if not match:
            raise ValueError
        found = datetime.strptime(f"{match.group(1)} {match.group(2) or '00:00'}", "%Y-%m-%d %H:%M")
    except ValueError:
        raise OpsError(
            f"refused: freeze {dict(freeze)}: {name} is no day (give it such as 2026-12-20, or 2026-12-20 18:00)"
        ) from None
    whole_day = timedelta(days=name == "end" and not match.group(2))
    return (found + whole_day).replace(tzinfo=zone)


def _zone(given: Mapping[str, Any]) -> tzinfo:
    name = str(given.get("timezone") or "UTC")
    if name == "UTC":
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise OpsError(
            f"refused: {name!r} is no time zone that this host knows (give one such as Europe/Berlin)"
        ) from None


def _keys(what: str, given: Any, known: set[str]) -> None:
    if not isinstance(given, Mapping):
        raise OpsError(f"refused: {given!r} is no {what} (give a dictionary of {', '.join(sorted(known))})")
    unknown = sorted(set(map(str, given)) - known)
    if unknown:
        raise OpsError(f"refused: a {what} has no {unknown[0]} (it takes {', '.join(sorted(known))})")


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else str(value).split(",")
