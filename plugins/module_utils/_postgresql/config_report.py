# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `config` tells: differences that a reviewer can read, what awaits a restart, and who else sets something."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.secrets_guard import redact
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_places import (
    AUTO,
    Places,
    look,
    others,
    shadowed,
)

INCLUDE = re.compile(r"^\s*include_dir\s*=?\s*'conf\.d'", re.MULTILINE)


def difference(path: Path, text: str, known: Places) -> dict[str, str]:
    """One file's difference. A changed setting tells what it takes to have an effect."""
    before, after = read_text(path), text
    if path.parent.name == "conf.d":
        old = before.splitlines()
        lines = [line if line in old else line + _effect(line, known) for line in text.splitlines()]
        after = "\n".join([*lines, ""])
    return {
        "before_header": str(path) if before else f"{path} (absent)",
        "after_header": str(path),
        "before": redact(before),
        "after": redact(after),
    }


def _effect(line: str, known: Places) -> str:
    kind = known.kinds.get(line.partition(" = ")[0].lower())
    return "  # awaits a restart" if kind and kind.needs_restart else ""


def reset_shown(server: Server, auto: Mapping[str, str]) -> dict[str, str]:
    """What ALTER SYSTEM RESET takes away."""
    place = str(server.data_dir / AUTO)
    lines = [f"{name} = {conf.quoted(value)}" for name, value in auto.items()]
    before = redact("\n".join([*lines, ""]))
    return {"before_header": place, "after_header": f"{place} (ALTER SYSTEM RESET)", "before": before, "after": ""}


def foresee(known: Places, declared: Mapping[str, Any], stale: Mapping[Path, str], outcome: Outcome) -> None:
    """In a dry run, name what would await a restart, too."""
    wanted = {name.lower(): conf.as_text(value) for name, value in declared.items()}
    for path in stale:
        if path.parent.name == "conf.d":
            gone = {name: known.rows[name].default or "" for name in conf.parse(read_text(path)) if name in known.rows}
            wanted = {**{name: value for name, value in gone.items() if name not in wanted}, **wanted}
    for name, value in wanted.items():
        row = known.rows.get(name)
        if not row or not row.kind.needs_restart or row.pending or name in known.command_line:
            continue
        if known.meaning(name, value) != known.meaning(name, row.setting):
            outcome.facts["pending"].append({"name": row.kind.name, "current": row.shown, "new": value})


def report(server: Server, params: Params, outcome: Outcome, reset: Mapping[str, str]) -> None:
    """Tell what awaits a restart, and which other places say something about the declared settings."""
    facts = outcome.facts
    names = {name.lower() for name in params["settings"]}
    with server.connect() as connection:
        places = look(connection, server)
        facts["elsewhere"] = [one for one in others(connection) if one["name"].lower() in names]
    base = server.config_dir / "postgresql.conf"
    found = INCLUDE.search(read_text(base))
    line = read_text(base)[: found.start()].count("\n") + 1 if found else 0
    ours = server.config_dir / "conf.d" / f"{params['file']}.conf"
    facts["pending"] = sorted(places.pending() + facts["pending"], key=lambda one: str(one["name"]).lower())
    facts["restart_required"] = [one["name"] for one in facts["pending"]]
    facts["reset"] = sorted(reset)
    facts["shadowed"] = shadowed(places, params["settings"], ours, line)
    facts["overridden"] = [one["name"] for one in facts["shadowed"]]
    for one in facts["shadowed"]:
        if not one["same"]:
            outcome.warnings.append(
                f"{one['name']} is set elsewhere and that wins: {one['place']} says {one['value']}, "
                f"{one['declared']} is declared{_remedy(one['place'])}"
            )


def _remedy(place: str) -> str:
    return " (ALTER SYSTEM RESET, or reset_auto)" if AUTO in place else ""
