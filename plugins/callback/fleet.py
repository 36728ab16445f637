# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the run of one cluster say to the fleet that started it how it ended."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet
type: aggregate
short_description: Tells a fleet how the run of one cluster ended
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - M(boringdb.ops.fleet) enables it in the runs that it starts. Elsewhere it does nothing.
  - Writes whether the run ended well, how many tasks changed something, the last failure's message, and what
    M(ansible.builtin.set_stats) handed out, to the file that C(BORINGDB_FLEET_SAID) names.
requirements: []
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_journal import SAID_VARIABLE


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Listens for failures and writes at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "boringdb.ops.fleet"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._place = os.environ.get(SAID_VARIABLE, "")
        self._began = time.time()
        self._message = ""
        self._item = ""
        if not self._place:
            self.disabled = True

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Remember the last failure: after a rescue it is the one that ended the run."""
        if not ignore_errors:
            self._remember(result)
            # Of a loop Ansible says only that an item failed.
            self._message, self._item = self._item or self._message, ""

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """What a loop's last failed item said."""
        self._remember(result)
        self._item = self._message

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """What an item of an earlier task said does not count, as where that failure was ignored."""
        self._item = ""

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host that is gone is a failure, too."""
        self._remember(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write it down, whole or not at all."""
        hosts = sorted(stats.processed)
        summaries = [stats.summarize(host) for host in hosts]
        bad = sum(one["failures"] + one["unreachable"] for one in summaries)
        said = {
            "ok": bool(hosts) and not bad,
            "changed": sum(one["changed"] for one in summaries),
            "seconds": round(time.time() - self._began, 2),
            "message": (self._message if bad else "") or ("" if hosts else "no host was worked on"),
            "artifacts": stats.custom.get("_run") or {},
        }
        write_atomic(Path(self._place), json.dumps(said, default=str))

    def _remember(self, result: Any) -> None:
        told = getattr(result, "result", None) or getattr(result, "_result", {})
        host = getattr(result, "host", None) or getattr(result, "_host", "")
        message = told.get("msg") or told.get("censored") or "failed without a message"
        self._message = f"{getattr(host, 'name', host)}: {' '.join(str(message).split())[:2000]}"
