# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the gate's programs, each in its own process group, so that none outlives the gate."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Longest time any one program may take, in seconds. On a new machine ansible-test makes environments of its own first.
LIMIT = 900

_running: set[subprocess.Popen[str]] = set()


class Failed(Exception):
    """A check that did not pass; its text is the whole output."""


class Skipped(Exception):
    """A check that cannot run here; its text says why."""


def run(argv: Sequence[str | Path], cwd: Path, env: Mapping[str, str]) -> str:
    """Run one program without standard input and return what it printed, both streams together.

    Raises Failed with all of it when the program fails, is missing or takes longer than LIMIT seconds.
    """
    words = [str(word) for word in argv]
    try:
        process = subprocess.Popen(
            words, cwd=cwd, env=env, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
    except OSError as exc:
        raise Failed(f"{words[0]}: {exc.strerror}") from exc
    _running.add(process)
    try:
        output, _none = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired as exc:
        _kill(process)
        output, _none = process.communicate()
        raise Failed(f"{output}\n{' '.join(words)}: not done within {LIMIT} s") from exc
    finally:
        _running.discard(process)
    if process.returncode:
        raise Failed(f"{output}\n{' '.join(words)}: exit code {process.returncode}")
    return output


def stop_all() -> None:
    """Kill what still runs: the gate was interrupted."""
    for process in list(_running):
        _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
