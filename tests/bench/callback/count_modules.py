# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts what really ran for each host: tasks with a module, and how often the module ran in their loops.

What the controller does alone (facts, assertions, includes, the check of a role's arguments) costs a hundredth of a
module's start, and is counted apart. One JSON line at the end goes to the file that COUNT_MODULES_FILE names.
"""

from __future__ import annotations

import collections
import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: count_modules
type: aggregate
short_description: Counts modules by host
description: Counts modules by host.
"""

#: They run on the controller and start no module.
CONTROLLER = {
    "add_host", "assert", "debug", "fail", "group_by", "import_role", "import_tasks", "include_role", "include_tasks",
    "include_vars", "meta", "pause", "set_fact", "set_stats", "validate_argument_spec",
}  # fmt: skip


class CallbackModule(CallbackBase):
    """Keeps the counts until the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "count_modules"

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, list[str]] = collections.defaultdict(list)
        self.runs: collections.Counter[str] = collections.Counter()
        self.beside: collections.Counter[str] = collections.Counter()

    def _count(self, result: Any, **_ignored: Any) -> None:
        # The attributes lost their underscores in ansible-core 2.19.
        task = getattr(result, "task", None) or result._task
        host = (getattr(result, "host", None) or result._host).get_name()
        said = getattr(result, "result", None) or result._result
        if task.action.rpartition(".")[2] in CONTROLLER:
            self.beside[host] += 1
            return
        items = said.get("results") if isinstance(said.get("results"), list) and task.loop else None
        ran = 1 if items is None else sum(1 for item in items if not item.get("skipped"))
        if ran:
            self.tasks[host].append(task.get_name())
            self.runs[host] += ran

    v2_runner_on_ok = v2_runner_on_failed = _count

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write them down."""
        del stats
        counts = {
            host: {"tasks": len(names), "runs": self.runs[host], "beside": self.beside[host], "names": names}
            for host, names in self.tasks.items()
        }
        place = os.environ.get("COUNT_MODULES_FILE")
        if place:
            Path(place).write_text(json.dumps(counts))
