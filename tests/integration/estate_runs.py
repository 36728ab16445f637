# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting, killing, and what a run of Ansible or of a module told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

#: What runs longer than so many seconds hangs: no machine is that slow.
HANGS = 900.0


def await_(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Wait until the condition holds and return what it gave; fails the test when it does not in time.

    :param seconds: what a quiet machine needs at most; a busy one gets up to ten times that
    """
    limit = max(seconds, min(10 * seconds, HANGS))
    until = time.monotonic() + limit
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > until:
            pytest.fail(f"not within {limit:g} s: {what}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent(pid: int) -> int:
    """The process that started `pid`."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill(pid: int) -> None:
    """SIGKILL, and wait for the end; who has ended by itself meanwhile is as dead."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    await_(lambda: not alive(pid), f"the end of process {pid}")


@dataclass
class Played:
    """How a run of Ansible ended."""

    code: int
    output: str

    def told(self) -> str:
        """The output in one line, because YAML folds long messages."""
        return " ".join(self.output.split())

    def errors(self) -> list[str]:
        """The `msg` of every failed task, each as one line, and errors outside of tasks."""
        found = re.findall(r"^(?:fatal|failed): .*?=> *\n((?:    .*\n)+)", self.output + "\n", re.MULTILINE)
        told = []
        for block in found:
            message = re.search(r"^    msg: (.*(?:\n {6,}.*)*)", block, re.MULTILINE)
            told.append(" ".join(message.group(1).split()) if message else block)
        return told + re.findall(r"^\[ERROR\]: (Error processing .*)$", self.output, re.MULTILINE)


@dataclass
class Running:
    """A playbook, or a module, that goes on while the test looks."""

    popen: subprocess.Popen[str]
    log: Path

    def end(self, seconds: float = HANGS) -> Played:
        """Wait for the end."""
        code = self.popen.wait(seconds)
        return Played(code, self.log.read_text())

    def result(self, fails: bool = False) -> dict[str, Any]:
        """Wait for a module's end; returns what it says."""
        done = self.end()
        assert done.output.lstrip().startswith("{"), done.output
        result: dict[str, Any] = json.loads(done.output)
        assert bool(result.get("failed")) is fails, done.output
        return result

    def kill(self) -> None:
        """SIGKILL for this process alone; its children live on."""
        self.popen.kill()
        self.popen.wait()
