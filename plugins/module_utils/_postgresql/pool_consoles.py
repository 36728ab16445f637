# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several poolers at once: all are paused or none is; resume and reload reach every one that can be reached."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_console import Console, Unanswered, quoted


def pause_all(consoles: Sequence[Console], databases: Sequence[str], seconds: float) -> None:
    """Pause the databases on all poolers at the same time. What was paused before is waited for all the same.

    Where one does not get there in time, all are resumed, and OpsError says what held each.
    """
    until = time.monotonic() + seconds
    failures: list[str] = []
    for database in databases:
        failures = failures or _paused_together(consoles, database, until, seconds)
    if failures:
        try:
            resume_all(consoles, databases)
        except OpsError as exc:
            raise OpsError(f"{'; '.join(failures)}; and not all could be resumed: {exc}") from exc
        raise OpsError(f"{'; '.join(failures)}; all were resumed")


def _paused_together(consoles: Sequence[Console], database: str, until: float, seconds: float) -> list[str]:
    statement = f"PAUSE {quoted(database)}"
    failures, sent = [], []
    for console in consoles:
        try:
            console.send(statement)
            sent.append(console)
        except OpsError as exc:
            failures.append(str(exc))
    for console in sent:
        try:
            console.answer(statement, max(0.0, until - time.monotonic()))
            if not console.paused(database):
                failures.append(f"{console}: {statement}: somebody has resumed it meanwhile")
        except Unanswered:
            why = "who holds it can't be told"
            with contextlib.suppress(OpsError):
                why = console.holders(database)
            failures.append(f"{console}: {statement} did not end within {seconds:g} s: {why}")
        except OpsError as exc:
            told = str(exc)
            if "already suspended/paused" in told:
                told += " (somebody has paused the whole pooler: RESUME it on its console first)"
            failures.append(told)
    return failures


def resume_all(consoles: Sequence[Console], databases: Sequence[str]) -> dict[str, list[str]]:
    """Resume the databases on all poolers, also when some fail; returns what was paused, by pooler."""
    return _each(consoles, lambda console: console.resume(databases))


def reload_all(consoles: Sequence[Console]) -> None:
    """Reload all poolers, also when some fail."""
    _each(consoles, lambda console: console.reload())


def _each(consoles: Sequence[Console], does: Callable[[Console], Any]) -> dict[str, Any]:
    """Do it on every one. Raises OpsError that names all that failed, when every other one has it."""
    done: dict[str, Any] = {}
    failures = []
    for console in consoles:
        try:
            done[str(console.address)] = does(console)
        except OpsError as exc:
            failures.append(str(exc))
    if failures:
        raise OpsError("; ".join(failures))
    return done
