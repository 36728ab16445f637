# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can't be right about a restore's options, whatever the repository holds: refused before a look at anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import impossible, settings_fit
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.recovery import ISOLATED
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_plan import parse_time
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_kinds import Kind, meaning
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.settings import as_text

#: The copy's own settings: where it is, what it reads, how far it recovers.
_RESTORE_OWNS = re.compile(r"^(port|data_directory|config_file|hba_file|ident_file|external_pid_file|unix_socket_\w+|"
                           r"restore_command|recovery_target\w*|include\w*)$")  # fmt: skip


def refuse_impossible(params: Mapping[str, Any]) -> None:
    """Raise Refused with everything that is wrong with a restore's options."""
    preflight = impossible(params)
    if params["state"] != "absent":
        _target(params, preflight)
        _copy_settings(params["settings"], preflight)
        _replicas(params, preflight)
    preflight.done()


def _target(params: Mapping[str, Any], preflight: Preflight) -> None:
    kind, target = params["target_type"], params.get("target")
    if kind not in ("time", "lsn", "name"):
        preflight.require(
            not target, f"target {target!r} means nothing with target_type {kind}", "set the type, or no target"
        )
    elif target:
        try:
            if kind == "time":
                parse_time(target)
            elif kind == "lsn":
                lsn.parse(target)
        except (OpsError, ValueError) as exc:
            preflight.refuse(str(exc) if kind == "time" else f"target {target!r} is no LSN such as 0/3000060")
    timeline = params["target_timeline"]
    preflight.require(
        timeline in ("latest", "current") or bool(re.fullmatch(r"[1-9]\d{0,8}", timeline)),
        f"target_timeline {timeline!r} is no timeline",
        "give latest, current or a number",
    )


def _replicas(params: Mapping[str, Any], preflight: Preflight) -> None:
    made, copy = params.get("replicas_dir"), Path(params["data_dir"])
    # All of it is removed: nothing else may be below it.
    preflight.require(
        not made or (Path(made).parent == copy.parent and not Path(made).name.startswith(copy.name)),
        f"replicas_dir {made} does not lie beside {copy}",
        f"give a directory of its own in {copy.parent}",
    )


def _copy_settings(settings: Mapping[str, Any], preflight: Preflight) -> None:
    settings_fit(settings, preflight)
    for name, value in settings.items():
        preflight.require(not _RESTORE_OWNS.match(name), f"setting {name}: the restore sets it itself", "leave it out")
        wanted = ISOLATED.get(name)
        preflight.require(
            wanted is None or _same(name, wanted, as_text(value)),
            f"setting {name}: it isolates the copy",
            "leave it out",
        )


def _same(name: str, wanted: str, given: str) -> bool:
    vartype = "bool" if wanted in ("on", "off") else "integer" if wanted.isdigit() else "string"
    kind = Kind(name, vartype)
    return meaning(wanted, kind) == meaning(given, kind)
