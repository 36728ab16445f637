# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors a person reads: one line that says what is wrong and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def as_line(text: object) -> str:
    """A message as one line: whatever a path or an engine's answer holds, a log and a report keep it together."""
    return " ".join(str(text).split())


class OpsError(Exception):
    """Something a user or an engine caused. Its text is the whole message; no traceback is shown.

    `facts` are returned by the module beside the message, for callers that record why it failed.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        self.facts = facts
        super().__init__(message)


class Damaged(OpsError):
    """What was stored could be read, and is not what was written."""


@dataclass(frozen=True)
class Reason:
    """One thing that stands in the way of an operation, and its remedy."""

    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.what} ({self.remedy})" if self.remedy else self.what


class Refused(OpsError):
    """A preflight said no, before anything was touched. Carries every reason at once."""

    def __init__(self, reasons: list[Reason]) -> None:
        self.reasons = reasons
        count = "" if len(reasons) == 1 else f" for {len(reasons)} reasons"
        super().__init__(f"refused{count}: " + "; ".join(str(reason) for reason in reasons))


class Preflight:
    """Collects reasons against an operation, so that a user sees all of them in one run."""

    def __init__(self) -> None:
        self.reasons: list[Reason] = []

    def refuse(self, what: str, remedy: str = "") -> None:
        """Note a reason."""
        self.reasons.append(Reason(what, remedy))

    def require(self, condition: bool, what: str, remedy: str = "") -> bool:
        """Note a reason unless `condition` holds; returns `condition`."""
        if not condition:
            self.refuse(what, remedy)
        return condition

    def done(self) -> None:
        """Raise Refused when any reason was noted."""
        if self.reasons:
            raise Refused(self.reasons)
