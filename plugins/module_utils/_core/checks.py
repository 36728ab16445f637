# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks and the verdict that follows from them.

Every operation ends in a list of checks; the verdict is *derived* from that list by :func:`verdict` and by
nothing else, so that no operation can call itself verified. Standard library only: this runs on hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union

__all__ = [
    "STATUSES", "VERDICTS", "Check", "CheckLike", "as_checks", "failed", "passed", "skipped", "summary", "verdict",
]

STATUSES = ("passed", "failed", "skipped")
VERDICTS = ("verified", "failed", "error")

# What a check expected or found: one short printable value. Never a row's content, never a secret.
Value = Union[None, bool, int, float, str]


@dataclass(frozen=True)
class Check:
    """One question that was asked about the result of an operation.

    :param name: short word, unique within an operation, for example ``page_checksums``
    :param required: whether the verdict depends on it
    :param status: ``passed``, ``failed`` or ``skipped`` (could not run; never the same as passed)
    :param expected: what should have been found
    :param actual: what was found
    :param seconds: how long it took, wall clock
    :param message: one line for a person; says why when the check failed or was skipped
    """

    name: str
    required: bool
    status: str
    expected: Value = None
    actual: Value = None
    seconds: float | None = None
    message: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a check needs a name")
        if self.status not in STATUSES:
            raise ValueError(f"check {self.name}: status must be one of {', '.join(STATUSES)}, not {self.status!r}")
        # A truthy string such as "no" must not become a required check by accident, nor the reverse.
        if not isinstance(self.required, bool):
            raise ValueError(f"check {self.name}: required must be true or false, not {self.required!r}")

    def to_dict(self) -> dict[str, Any]:
        """The shape that stands in records, in module results and in the report."""
        return {
            "name": self.name,
            "required": self.required,
            "status": self.status,
            "expected": self.expected,
            "actual": self.actual,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "message": self.message,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Check:
        """Reads :meth:`to_dict`'s shape.

        :raises ValueError: for a missing name, required or status, an unknown key or a wrong status
        """
        unknown = sorted(set(data) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"check {data.get('name', '?')}: unknown keys {', '.join(unknown)}")
        missing = [key for key in ("name", "required", "status") if key not in data]
        if missing:
            raise ValueError(f"check {data.get('name', '?')}: missing keys {', '.join(missing)}")
        seconds = data.get("seconds")
        return cls(
            name=str(data["name"]),
            required=data["required"],
            status=str(data["status"]),
            expected=data.get("expected"),
            actual=data.get("actual"),
            seconds=None if seconds is None else float(seconds),
            message=str(data.get("message") or ""),
        )


CheckLike = Union[Check, Mapping[str, Any]]


def passed(
    name: str, *, required: bool = True, expected: Value = None, actual: Value = None,
    seconds: float | None = None, message: str = "",
) -> Check:
    """A check that ran and found what it expected."""
    return Check(name, required, "passed", expected, actual, seconds, message)


def failed(
    name: str, *, required: bool = True, expected: Value = None, actual: Value = None,
    seconds: float | None = None, message: str = "",
) -> Check:
    """A check that ran and found something else."""
    return Check(name, required, "failed", expected, actual, seconds, message)


def skipped(
    name: str, *, required: bool = True, expected: Value = None, actual: Value = None,
    seconds: float | None = None, message: str = "",
) -> Check:
    """A check that could not run; ``message`` should say why."""
    return Check(name, required, "skipped", expected, actual, seconds, message)


def as_checks(checks: Iterable[CheckLike]) -> list[Check]:
    """Checks or their dictionaries, as checks.

    :raises ValueError: see :meth:`Check.from_dict`
    """
    return [check if isinstance(check, Check) else Check.from_dict(check) for check in checks]


def verdict(checks: Iterable[CheckLike], error: str | None = None) -> str:
    """What the checks say together: ``verified``, ``failed`` or ``error``.

    ``failed`` means that the subject was examined and found wanting; ``error`` that it could not be told.
    In this order: a required check failed -> ``failed`` (a known defect outweighs everything else); an
    operation that reported an error, a required check that was skipped, no check at all, or no *required*
    check that passed (nothing was proven) -> ``error``; otherwise ``verified``.

    :raises ValueError: see :meth:`Check.from_dict`
    """
    required = [check for check in as_checks(checks) if check.required]
    if any(check.status == "failed" for check in required):
        return "failed"
    if error or not required or any(check.status == "skipped" for check in required):
        return "error"
    return "verified"


def summary(checks: Iterable[CheckLike], error: str | None = None) -> str:
    """One line for logs and job output, for example ``failed: 7 of 9 checks passed; failed: relations_exact``."""
    listed = as_checks(checks)
    parts = [f"{sum(c.status == 'passed' for c in listed)} of {len(listed)} checks passed"]
    for status in ("failed", "skipped"):
        names = [c.name if c.required else f"{c.name} (optional)" for c in listed if c.status == status]
        if names:
            parts.append(f"{status}: {', '.join(names)}")
    if error:
        parts.append(f"error: {error}")
    return f"{verdict(listed, error)}: {'; '.join(parts)}"
