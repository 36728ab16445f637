# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a server's settings come from: files in their order, ALTER SYSTEM, the command line, accounts and databases."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_kinds import Kind, Meaning, meaning

AUTO = "postgresql.auto.conf"
#: A standby does not start, or stops replaying, where one of these is less than on its primary.
FLOOR = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)

_SETTINGS = """
SELECT name, vartype, unit, enumvals, context, setting, boot_val, pending_restart,
       current_setting(name, true) AS shown, source
FROM pg_settings
"""
_FILES = """
SELECT lower(name), setting, sourcefile, sourceline, seqno FROM pg_file_settings
WHERE name IS NOT NULL AND setting IS NOT NULL ORDER BY seqno
"""
_OTHERS = """
SELECT coalesce(r.rolname, ''), coalesce(d.datname, ''), unnest(s.setconfig)
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
ORDER BY 1, 2, 3
"""
#: The server's one-letter options that set something.
_LETTERS = {"-p": "port", "-h": "listen_addresses", "-k": "unix_socket_directories", "-N": "max_connections",
            "-B": "shared_buffers", "-S": "work_mem"}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One line of a configuration file, as the server reads it; `order` grows with what is read later, and wins."""

    name: str
    value: str
    file: str
    line: int
    order: int

    @property
    def place(self) -> str:
        """Where a person finds it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Row:
    """A setting as the server has it now: raw, and as people read it."""

    kind: Kind
    setting: str
    shown: str
    default: str | None
    pending: bool
    source: str


@dataclass(frozen=True)
class Places:
    """Everything that says what a running server's settings are."""

    rows: dict[str, Row]
    entries: list[Entry]
    command_line: dict[str, str]

    @property
    def kinds(self) -> dict[str, Kind]:
        """What each known setting is, by its name in lower case."""
        return {name: row.kind for name, row in self.rows.items()}

    def winner(self, name: str) -> Entry | None:
        """The line of the files that wins."""
        found = [entry for entry in self.entries if entry.name == name.lower()]
        return found[-1] if found else None

    def meaning(self, name: str, value: str) -> Meaning:
        """What a value means for a setting."""
        return meaning(value, self.kinds.get(name.lower()))

    def pending(self) -> list[dict[str, str]]:
        """What awaits a restart, as `{name, current, new}`."""
        found = []
        for row in sorted(self.rows.values(), key=lambda row: row.kind.name.lower()):
            if row.pending:
                entry = self.winner(row.kind.name)
                new = entry.value if entry else (row.default or "")
                found.append({"name": row.kind.name, "current": row.shown, "new": new})
        return found


def look(connection: Any, server: Server) -> Places:
    """Ask a running server. An account that may not read the files is told the settings alone."""
    rows = {}
    for name, vartype, unit, values, context, setting, boot, pending, shown, source in connection.execute(_SETTINGS):
        kind = Kind(name, vartype, unit, tuple(values or ()), context)
        rows[name.lower()] = Row(kind, setting or "", shown or "", boot, bool(pending), source)
    allowed = "SELECT has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'execute')"
    entries = []
    if connection.execute(allowed).fetchone()[0]:
        entries = [Entry(*row) for row in connection.execute(_FILES).fetchall()]
    return Places(rows, entries, command_line(read_text(server.data_dir / "postmaster.opts")))


def others(connection: Any) -> list[dict[str, str]]:
    """What ALTER ROLE and ALTER DATABASE set, as `{role, database, name, value}`; an empty one stands for all."""
    found = []
    for role, database, text in connection.execute(_OTHERS).fetchall():
        name, _equals, value = text.partition("=")
        found.append({"role": role, "database": database, "name": name, "value": value})
    return found


def command_line(opts: str) -> dict[str, str]:
    """The settings in a postmaster's options, the last one of a name winning."""
    words = shlex.split(opts)[1:]
    found: dict[str, str] = {}
    for index, word in enumerate(words):
        after = words[index + 1] if index + 1 < len(words) else ""
        assigned = after if word in ("-c", "--") else word[2:] if word[:2] in ("-c", "--") else ""
        if re.match(r"[\w.-]+=", assigned):
            name, _equals, value = assigned.partition("=")
            found[name.replace("-", "_").lower()] = value
        elif word[:2] in _LETTERS:
            found[_LETTERS[word[:2]]] = word[2:] or after
        elif word == "-F":
            found["fsync"] = "off"
    return found


def in_auto(server: Server, names: Iterable[str]) -> dict[str, str]:
    """Which of these settings ALTER SYSTEM has set, by their names in lower case."""
    found = conf.parse(read_text(server.data_dir / AUTO))
    return {name.lower(): found[name.lower()] for name in names if name.lower() in found}


def shadowed(places: Places, declared: Mapping[str, Any], ours: Path, include_line: int) -> list[dict[str, Any]]:
    """The declared settings that another place overrides: `{name, declared, value, place, same}`.

    Where our file does not hold a setting yet, `include_line` is the line of the main file that will read ours.
    """
    found = []
    for name in sorted(declared, key=str.lower):
        value = conf.as_text(declared[name])
        place, wins = _wins(places, name.lower(), ours, include_line)
        if place:
            same = places.meaning(name, wins) == places.meaning(name, value)
            row = places.rows.get(name.lower())
            proper = row.kind.name if row else name
            found.append({"name": proper, "declared": value, "value": wins, "place": place, "same": same})
    return found


def _wins(places: Places, name: str, ours: Path, include_line: int) -> tuple[str, str]:
    """The place that overrides our file and its value; two empty texts where none does."""
    if name in places.command_line:
        return "the command line", places.command_line[name]
    entries = [entry for entry in places.entries if entry.name == name]
    own = [entry.order for entry in entries if _is(entry, ours)]
    later = [
        entry
        for entry in entries
        if not _is(entry, ours) and (entry.order > max(own) if own else _after(entry, ours, include_line))
    ]
    return (later[-1].place, later[-1].value) if later else ("", "")


def _is(entry: Entry, file: Path) -> bool:
    return entry.file == str(file) or os.path.realpath(entry.file) == os.path.realpath(file)


def _after(entry: Entry, ours: Path, include_line: int) -> bool:
    """Whether a line will be read after our file, which does not hold that setting yet."""
    file, mine = Path(os.path.realpath(entry.file)), Path(os.path.realpath(ours))
    if file.name == AUTO:
        return True
    if file.parent == mine.parent:
        return file.name > mine.name
    return _is(entry, ours.parent.parent / "postgresql.conf") and 0 < include_line < entry.line
