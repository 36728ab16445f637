# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of `failover_drill` that the controller does: it runs playbooks, and knows which drill still runs."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.boringdb.ops.plugins.module_utils._core import dsse
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, as_line
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import remove_tree, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.ledger import record_files
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import alive, born
from ansible_collections.boringdb.ops.plugins.plugin_utils import playbook as program

#: What a drill runs: the words that are drilled, and for a copy the cluster and a drill on it.
WORDS = {"switchover", "failover", "rejoin", "provision", "failover_drill"}
PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"


def controller() -> dict[str, Any]:
    """This run: the worker's parent is ansible-playbook itself."""
    run = os.getppid()
    return {"host": platform.node(), "pid": run, "born": born(run)}


def runs(note: dict[str, Any], timeout: float) -> str:
    """Why the drill of a note is taken to run still, empty where it does not. One elsewhere is known by its time."""
    by = note.get("controller") or {}
    if by.get("host") == platform.node():
        same = alive(str(by.get("pid"))) and born(int(by["pid"])) == by.get("born")
        return f"it is process {by['pid']} of this controller" if same else ""
    left = float(note.get("noted") or 0) + timeout - time.time()
    return f"it was begun on {by.get('host', '?')}, and may run for {left:.0f} s more" if left > 0 else ""


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller, and the module on the host for what is to be done there."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """One state."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        if args.get("state") == "ran":
            return self._ran(args, task_vars or {})
        if args.get("state") == "noted" and isinstance(args.get("note"), dict):
            args["note"] = {**args["note"], "controller": controller()}
        result: dict[str, Any] = self._execute_module(module_args=args, task_vars=task_vars)
        if "note" in result and args.get("state", "seen") == "seen":
            result["unpassed"] = program.unpassed(context.CLIARGS)
            note, seconds = result["note"], float(args.get("timeout") or 60)
            result["runs"] = (runs(note, seconds) or _orphan(args, task_vars or {})) if note else ""
        return result

    def _ran(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        word, seconds = str(args.get("playbook")), float(args.get("timeout") or 60)
        cluster = task_vars.get("cluster", "")
        dry = bool(self._task.check_mode) or bool(args.get("dry"))
        book = PLAYBOOKS / f"{word}.yml"
        if word not in WORDS:
            return {"failed": True, "msg": f"{word} is no playbook that is drilled"}
        prompts = program.unpassed(context.CLIARGS)
        if prompts:
            return {"failed": True, "msg": f"{', '.join(prompts)}: what was typed can't be passed on; use files"}
        given = {"cluster": cluster, **(args.get("variables") or {})}
        own = args.get("inventory") or {}
        begun, more = time.monotonic(), {}
        with _beside(own) as place:
            options = program.elsewhere(context.CLIARGS, place / "inventory.json") if own else context.CLIARGS
            ledger = {"evidence_ledger": str(place / "ledger")} if own else {}
            argv = program.command(options, book, {**given, **ledger}, dry)
            try:
                # Also the orphan of a killed run holds it.
                lock = host_lock(_drill(args, task_vars), f"{word} of a failover drill", 5)
                with contextlib.nullcontext() if dry else lock:
                    error = program.play(argv, seconds, lambda play: Display().display(f"  failover_drill: {play}"))
            except OpsError as exc:
                error = as_line(exc)
            if own:
                more["record"] = _last_record(place / "ledger" / str(given["cluster"]))
        ended = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        took = round(time.monotonic() - begun, 1)
        return {"changed": not dry, "playbook": word, "error": error, "seconds": took, "ended": ended, **more}


def _drill(args: dict[str, Any], task_vars: dict[str, Any]) -> str:
    """What its lock is of: of one drill, one playbook runs at a time."""
    place = args.get("directory") or task_vars.get("cluster", "")
    return f"failover_drill:{task_vars.get('inventory_hostname')}:{place}"


def _orphan(args: dict[str, Any], task_vars: dict[str, Any]) -> str:
    """What is left at work of a drill whose controller was killed, empty where nothing is."""
    try:
        with host_lock(_drill(args, task_vars), "a look", 0):
            return ""
    except OpsError as exc:
        return f"its controller is gone, and what it has started is not: {as_line(exc)}"


@contextlib.contextmanager
def _beside(inventory: dict[str, Any]) -> Iterator[Path]:
    """A directory that only this account can read, with the inventory."""
    if not inventory:
        yield Path()
        return
    prefix = "boringdb-failover-drill-"
    # What a killed run has left: it may hold the password of a connection.
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        pid = left.name[len(prefix):].partition("-")[0]
        # Another drill may look at the same moment; a link that somebody planted is not ours.
        with contextlib.suppress(OSError):
            if left.lstat().st_uid == os.geteuid() and not alive(pid):
                remove_tree(left)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-") as home:
        write_atomic(Path(home) / "inventory.json", json.dumps(inventory))
        yield Path(home)


def _last_record(chain: Path) -> dict[str, Any]:
    """The predicate of the newest record, which this run has signed itself a moment ago."""
    files = record_files(chain)
    if not files:
        return {}
    found: dict[str, Any] = json.loads(dsse.parse_envelope(files[-1].read_bytes()).payload)["predicate"]
    return found
