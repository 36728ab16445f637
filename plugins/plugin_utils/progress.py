# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that tells how far it is while it works: what the action plugins of long modules have in common.

The module runs as always. Beside it, a second connection reads the note that the module writes, and shows a line, as
`restore orders (drill): data 43%, 1.2 GB/s, 0:20 left`: on a terminal and in a job of AWX, not into a pipe. The
variable `boringdb_progress` decides otherwise: `on` or `off` instead of `auto`. Nothing here ever stops the module.
"""

from __future__ import annotations

import copy
import json
import os
import secrets
import sys
import threading
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action.normal import ActionModule as Normal
from ansible.utils.display import Display
from ansible_collections.boringdb.ops.plugins.module_utils._core.progress import VARIABLE

#: Read when Ansible loads the plugin: the process that runs a task has no terminal any more.
_TERMINAL = sys.stdout.isatty()
#: ansible-runner, and so AWX, sets it.
_JOB = "AWX_ISOLATED_DATA_DIR" in os.environ
#: Lines come at these pauses (seconds), the last one again and again: a long job is no reason to fill the log.
_PAUSES = (2, 3, 5, 10, 20, 30)
_CONNECTIONS = ("ssh", "local")
_UNITS = ("B", "kB", "MB", "GB", "TB")


def wanted(choice: object, transport: str) -> bool:
    """Whether anybody looks."""
    asked = str(choice).lower()
    if transport not in _CONNECTIONS or asked in ("off", "false", "no"):
        return False
    return _TERMINAL or _JOB or asked in ("on", "true", "yes")


def line(title: str, note: Mapping[str, Any], earlier: Mapping[str, Any] | None = None) -> str:
    """What a person reads. With an earlier note of the same phase it says how fast it goes, and how long it takes."""
    done, total, seconds = int(note["done"]), int(note["total"]), float(note["seconds"])
    said = f"{title}: {note['phase']}"
    if total <= 0:
        return f"{said} for {_clock(seconds)}" + (f", {_size(done)}" if done else "")
    # What is measured is a little more or less than what was announced.
    said += f" {min(99, done * 100 // total)}%"
    since = earlier if earlier and earlier["phase"] == note["phase"] else {"done": 0, "seconds": 0.0}
    passed = seconds - float(since["seconds"])
    rate = (done - int(since["done"])) / passed if passed > 0 else 0.0
    if rate <= 0:
        return said
    return f"{said}, {_size(rate)}/s, {_clock(max(0.0, (total - done) / rate))} left"


def _size(count: float) -> str:
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ActionModule(Normal):  # type: ignore[misc]  # Ansible has no types
    """A module's run with its progress."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module; see the module's own documentation."""
        title = "" if self._task.async_val or self._task.check_mode else self._asked(task_vars or {})
        if not title:
            result: dict[str, Any] = super().run(tmp, task_vars)
            return result
        # Any account can write there, and nobody can guess the name.
        place = f"/tmp/.boringdb-progress-{secrets.token_hex(16)}"  # noqa: S108
        self._task.environment = [*(self._task.environment or []), {VARIABLE: place}]
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(place, title, over), daemon=True)
        watch.start()
        try:
            result = super().run(tmp, task_vars)
        finally:
            over.set()
            watch.join(5)
        return result

    def _asked(self, variables: Mapping[str, Any]) -> str:
        """What a line begins with; empty where nobody looks, or where a variable means nothing."""
        try:
            choice = self._templar.template(variables.get("boringdb_progress", "auto"))
            cluster = str(self._templar.template(variables.get("cluster", "")) or "")
        except AnsibleError:
            return ""
        word, host = str(self._task.action).rpartition(".")[2], str(variables.get("inventory_hostname", ""))
        title = f"{word} {cluster} ({host})" if cluster else f"{word} {host}"
        return title if wanted(choice, self._connection.transport) else ""

    def _watch(self, place: str, title: str, over: threading.Event) -> None:
        # Its own copy: what the connection keeps of a command is the module's.
        connection, turn, first = copy.copy(self._connection), 0, None
        while not over.wait(_PAUSES[min(turn, len(_PAUSES) - 1)]):
            turn += 1
            try:
                _code, out, _err = connection.exec_command(f"cat {place}", sudoable=False)
                note = json.loads(out)
                if first is None or first["phase"] != note["phase"]:
                    first = note
                    Display().display(line(title, note))
                else:
                    Display().display(line(title, note, first))
            except Exception as exc:
                # It is not there yet, or not any more.
                Display().debug(f"no progress: {exc}")
