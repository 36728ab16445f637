# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a run's trail: one JSON line when a task starts, one when it begins on a host, one when it has ended there.

Written before the task does anything, so that whoever reads along can kill inside of it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kills_trail
type: aggregate
short_description: Writes down when which task starts and ends
description: Writes down when which task starts and ends.
"""


class CallbackModule(CallbackBase):
    """Counts the tasks that start, in their order: each is a boundary."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kills_trail"

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.play = ""
        self.trail = Path(os.environ["KILLS_TRAIL"])

    def _write(self, **said: Any) -> None:
        with self.trail.open("a") as stream:
            stream.write(json.dumps({"at": time.time(), "number": self.number, **said}) + "\n")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Tasks of the same name in two plays are told apart by it."""
        self.play = play.get_name()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """A boundary: all before it has ended."""
        del is_conditional
        self.number += 1
        action = task.action.rpartition(".")[2]
        self._write(event="start", play=self.play, task=task.get_name(), action=action)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """A handler is a task."""
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """It begins on a host of the play; where it is delegated to, only its end tells."""
        del task
        self._write(event="begin", host=host.get_name())

    def _end(self, result: Any, ran: bool) -> None:
        # The attributes lost their underscores in ansible-core 2.19.
        host = (getattr(result, "host", None) or result._host).get_name()
        said = getattr(result, "result", None) or result._result
        on = (getattr(result, "task", None) or result._task).delegate_to or host
        self._write(event="end", host=host, on=on, ran=ran, changed=bool(said.get("changed")))

    def _ended(self, result: Any, **_ignored: Any) -> None:
        self._end(result, True)

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = _ended

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Nothing ran there."""
        self._end(result, False)
