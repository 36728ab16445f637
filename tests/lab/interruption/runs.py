# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of Ansible that go on while the test looks, are killed with everything they started, and tell how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.integration.estate_runs import Played, Running
from tests.lab.estate import ROOT, TOOLS, Estate

_PLAIN = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}


def begin(estate: Estate, program: str, *words: str, **environment: str) -> Running:
    """Start a program of Ansible in a session of its own."""
    handle, log = tempfile.mkstemp(suffix=".log", dir=estate.home)
    argv = [str(TOOLS / program), "-i", str(estate.inventory), *words]
    with os.fdopen(handle, "w") as output:
        popen = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **_PLAIN, **environment}, start_new_session=True,
        )  # fmt: skip
    return Running(popen, Path(log))


def module_result(done: Played, fails: bool) -> dict[str, Any]:
    """What a single module said, which must have failed or not."""
    assert "Traceback" not in done.output, done.output
    assert (" | FAILED! => " if fails else " => ") in done.output, done.output
    assert done.code == (2 if fails else 0), done.output
    result: dict[str, Any] = json.JSONDecoder().raw_decode(done.output.split(" => ", 1)[1])[0]
    return result


def kill_controller(running: Running) -> None:
    """SIGKILL for a run of Ansible and everything it has started here, its connections included."""
    for pid in (running.popen.pid, *_descendants(running.popen.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    running.popen.wait()


def _descendants(pid: int) -> list[int]:
    parents = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def failed_in_one_line(done: Played) -> str:
    """The only error of a playbook, which must have failed without a traceback."""
    assert done.code == 2, done.output
    assert "Traceback" not in done.output, done.output
    return done.told()
