# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times and messages of a write probe: parsing, printing, and a clock that does not jump.

All times in memory are integers: microseconds since the epoch, UTC.
"""

from __future__ import annotations

import datetime
import re
import time

_UNTIL = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)\Z", re.I
)


class ProbeError(Exception):
    """A mistake or an outage, said in one line for the person who reads it."""


def format_epoch(us: int) -> str:
    """Microseconds as ``seconds.microseconds``, the form kept in the files."""
    return f"{us // 1_000_000}.{us % 1_000_000:06d}"


def iso(us: int | None) -> str | None:
    """Microseconds as ISO 8601 in UTC, ``None`` stays ``None``."""
    if us is None:
        return None
    moment = datetime.datetime.fromtimestamp(us // 1_000_000, datetime.timezone.utc)
    return moment.replace(microsecond=us % 1_000_000).isoformat(timespec="microseconds")


def parse_time(text: str) -> int:
    """Microseconds from an ISO 8601 time with a zone, or from seconds since the epoch.

    A time without a zone is refused: a restore target that is hours off would be proven wrongly.
    """
    text = text.strip()
    if re.fullmatch(r"\d{9,11}(\.\d{1,9})?", text):
        whole, _dot, part = text.partition(".")
        return int(whole) * 1_000_000 + int((part + "000000")[:6])
    match = _UNTIL.match(text)
    if not match:
        raise ProbeError(
            f"not a time with a zone: {text!r} (write 2026-01-31T13:05:00.250+00:00 or seconds since 1970)"
        )
    year, month, day, hour, minute = (int(part) for part in match.groups()[:5])
    zone, offset = match.group(8), datetime.timedelta()
    if zone[0] in "+-":
        digits = (zone[1:].replace(":", "") + "00")[:4]
        offset = datetime.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        offset = -offset if zone[0] == "-" else offset
    try:
        moment = datetime.datetime(
            year, month, day, hour, minute, int(match.group(6) or 0), tzinfo=datetime.timezone.utc
        )
    except ValueError as exc:
        raise ProbeError(f"not a time: {text!r} ({exc})") from exc
    fraction = int(((match.group(7) or "") + "000000")[:6])
    since = moment - offset - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + fraction


def one_line(text: object) -> str:
    """The first line of a message, fit for a tab-separated file."""
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return re.sub(r"\s+", " ", lines[0]) if lines else ""


class Clock:
    """Wall-clock time that advances with the monotonic clock.

    The wall clock is read once. Differences are then monotonic, so a stepped system clock cannot make or hide a gap.
    """

    def __init__(self) -> None:
        self._wall = time.time_ns()
        self._monotonic = time.monotonic_ns()

    def now(self) -> int:
        """Microseconds since the epoch."""
        return (self._wall + time.monotonic_ns() - self._monotonic) // 1000
