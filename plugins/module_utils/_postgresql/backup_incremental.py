# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an incremental backup by pg_basebackup builds on, and whether the server still knows what has changed since."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import Backup
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_native import NativeRepository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

#: The first version that takes them.
SINCE = 17

_LINE = "SELECT system_identifier::text, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM pg_control_system()"
_SUMMARIES = "SELECT start_lsn::text, end_lsn::text FROM pg_available_wal_summaries()"
_SUMMARIZED = "SELECT summarized_lsn::text FROM pg_get_wal_summarizer_state()"
_SWITCH = re.compile(r"^\s*(\d+)\s+(\S+)", re.MULTILINE)


def prior_of(server: Server, repository: NativeRepository, connection: Any, preflight: Preflight) -> Backup | None:
    """The newest backup that one of this server can build on; notes why there is none, or none that will do."""
    major = connection.info.server_version // 10000
    if not preflight.require(major >= SINCE, f"incr needs PostgreSQL {SINCE}, this is {major}", "use type full"):
        return None
    if not preflight.require(
        connection.execute("SHOW summarize_wal").fetchone()[0] == "on",
        "summarize_wal is off: the server does not note which blocks change",
        "switch it on, which needs only a reload, and take a full backup",
    ):
        return None
    if not repository.backup_path.is_dir():
        return None
    identity, line = connection.execute(_LINE).fetchone()
    found = repository.backups()
    ends = _ends(server, repository, int(line, 16))
    fitting = [one for one in found if not one.problem and one.system_identifier == identity and _in_history(one, ends)]
    broken = "; ".join(f"{one.label}: {one.problem}" for one in found if one.problem)
    if not preflight.require(
        bool(fitting),
        "there is no backup of this server to build on" + (f" ({broken})" if broken else ""),
        "take a full one first",
    ):
        return None
    # By position: a file's time, from which the end of a backup is read, changes where somebody copies it.
    prior = max(fitting, key=lambda one: (one.timeline, lsn.parse(one.stop_lsn)))
    summaries = connection.execute(_SUMMARIES).fetchall()
    upto = connection.execute(_SUMMARIZED).fetchone()[0]
    preflight.require(
        reaches(summaries, prior.start_lsn, upto),
        f"the server's WAL summaries don't reach back to {prior.start_lsn}, where backup {prior.label} begins",
        "take a full backup; wal_summary_keep_time must be longer than the time between two backups",
    )
    return prior


def _ends(server: Server, repository: NativeRepository, line: int) -> dict[int, int | None]:
    """The timelines that the server's own one comes from, with where it left each; None for its own."""
    name = f"{line:08X}.history"
    text = read_text(server.data_dir / "pg_wal" / name) or read_text(repository.wal_path / name)
    return {**{int(old): lsn.parse(at) for old, at in _SWITCH.findall(text)}, line: None}


def _in_history(backup: Backup, ends: dict[int, int | None]) -> bool:
    """Whether a backup lies on the server's way here, and not on a timeline that it left before."""
    if backup.timeline not in ends:
        return False
    end = ends[backup.timeline]
    return end is None or lsn.parse(backup.stop_lsn) <= end


def reaches(summaries: Iterable[tuple[str, str]], since: str, upto: str) -> bool:
    """Whether WAL summaries cover everything from one position to another without a gap."""
    covered, end = lsn.parse(since), lsn.parse(upto)
    for first, last in sorted((lsn.parse(first), lsn.parse(last)) for first, last in summaries):
        if first <= covered < last:
            covered = last
    return covered >= end
