# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs and waiting for conditions; every failure becomes one LabError with one line."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence


class LabError(Exception):
    """A failure that the user can read: one line, what was tried and what to do."""


def last_line(text: str) -> str:
    """Return the last line of text that says something, or ''."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def attempt(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run argv and return its result whatever its exit status; env is added to ours.

    Raises LabError when the program is missing or takes longer than timeout seconds.
    """
    try:
        return subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            check=False,
        )
    except FileNotFoundError as exc:
        raise LabError(f"{argv[0]} is not installed") from exc
    except subprocess.TimeoutExpired as exc:
        raise LabError(f"{argv[0]} did not end within {timeout:.0f} s: {' '.join(argv)}") from exc


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run argv and return its standard output; LabError with its last message when it fails."""
    done = attempt(argv, stdin=stdin, timeout=timeout, env=env)
    if done.returncode != 0:
        said = last_line(done.stderr) or last_line(done.stdout) or f"exit status {done.returncode}"
        raise LabError(f"{' '.join(argv[:6])}: {said}")
    return done.stdout


def wait_until(condition: Callable[[], bool], seconds: float, what: str, every: float = 0.05) -> None:
    """Return as soon as condition() holds; LabError saying `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not after {seconds:.0f} s")
        time.sleep(every)
