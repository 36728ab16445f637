# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a restored copy shows that it is where it should be: position, commits on both sides, objectives, isolation."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import Check, failed, passed, skipped
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.idle import lacks_at_most, nothing_missing
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import Backup, stamp
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest import (
    PgbackrestRepository,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_plan import Plan
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_kinds import Kind, meaning
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive, Commit

_REACHED = """
SELECT pg_last_wal_replay_lsn()::text AS lsn, pg_last_xact_replay_timestamp() AS time,
       (SELECT timeline_id FROM pg_control_checkpoint()) AS old_timeline,
       pg_walfile_name(pg_current_wal_lsn()) AS wal_file,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid
"""


def reached(connection: Any) -> dict[str, Any]:
    """Where recovery ended: `lsn`, `time` of the last replayed commit (None: none), `timeline`, `next_xid`."""
    position, time, _old, wal_file, next_xid = connection.execute(_REACHED).fetchone()
    return {
        "lsn": position,
        "time": stamp(time) if time else None,
        "timeline": int(wal_file[:8], 16),
        "next_xid": next_xid,
    }


def target_checks(connection: Any, plan: Plan, at: Mapping[str, Any], last_words: Callable[[], str]) -> list[Check]:
    """`target_reached`, `before_target` and `after_target`: the position and the commits on both sides of it."""
    checks = [_target_reached(plan, at, last_words)]
    before, after = plan.target.before, plan.target.after
    if before is None:
        checks.append(skipped("before_target", required=False, message="no commit between the backup and the target"))
    else:
        there = _committed(connection, before, at["next_xid"])
        make = passed if there else failed
        word = "is there" if there else "is missing"
        message = f"transaction {before.xid}, committed {stamp(before.time)} before the target, {word}"
        checks.append(
            make("before_target", expected="present", actual="present" if there else "missing", message=message)
        )
    if after is None:
        checks.append(skipped("after_target", required=False, message="no commit after the target in the archive"))
    else:
        there = _committed(connection, after, at["next_xid"])
        make = failed if there else passed
        word = "is there too" if there else "is not there"
        message = f"transaction {after.xid}, committed {stamp(after.time)} after the target, {word}"
        checks.append(make("after_target", expected="absent", actual="present" if there else "absent", message=message))
    return checks


def _target_reached(plan: Plan, at: Mapping[str, Any], last_words: Callable[[], str]) -> Check:
    """Recovery to a time, position or name ends with an error unless it stops there; `latest` ends where WAL ends."""
    target = plan.target
    floor = {"lsn": target.value, "latest": plan.window.end_lsn}.get(target.type, plan.window.start_lsn)
    expected = f"{target.type} {target.value or plan.window.end_lsn}"
    actual = f"{at['lsn']} ({at['time'] or 'no commit replayed'})"
    if lsn.parse(at["lsn"]) < lsn.parse(floor):
        message = f"recovery ended at {at['lsn']}, before {floor}: {last_words()}"
        return failed("target_reached", expected=expected, actual=actual, message=message)
    return passed("target_reached", expected=expected, actual=actual)


def _committed(connection: Any, commit: Commit, next_xid: int) -> bool:
    """Whether a transaction is committed in the copy. WAL has 32-bit numbers; the copy's next one gives the epoch."""
    full = (next_xid & ~0xFFFFFFFF) + commit.xid
    if full >= next_xid + (1 << 31):
        full -= 1 << 32
    if full >= next_xid:
        return False
    status = connection.execute("SELECT pg_xact_status(%s::text::xid8)", (str(full),)).fetchone()[0]
    return bool(status == "committed")


def isolation_check(connection: Any, wanted: Mapping[str, str]) -> Check:
    """`isolation`: the running copy has every setting that cuts it off."""
    query = "SELECT name, vartype, unit, enumvals, setting FROM pg_settings WHERE name = ANY(%s)"
    wrong = []
    for name, vartype, unit, values, setting in connection.execute(query, (list(wanted),)).fetchall():
        kind = Kind(name, vartype, unit, tuple(values or ()))
        if meaning(setting or "", kind) != meaning(wanted[name], kind):
            wrong.append(name)
    if wrong:
        return failed(
            "isolation", expected="isolated", actual=", ".join(sorted(wrong)), message=f"not isolated: {wrong}"
        )
    return passed("isolation", expected="isolated", actual="isolated")


def repository_check(repository: PgbackrestRepository, backup: Backup) -> Check:
    """`repository_bytes`: the tool's own reading of the stored bytes. A native backup's are checked by `verify`."""
    begun = time.monotonic()
    try:
        problems = repository.verify(backup)
    except OpsError as exc:
        # Not required: the restore has compared every file it laid down with its checksum; this reads what it left out.
        return skipped("repository_bytes", required=False, seconds=time.monotonic() - begun, message=str(exc))
    seconds = time.monotonic() - begun
    if problems:
        message = "; ".join(problems[:3])
        return failed(
            "repository_bytes", expected="sound", actual=f"{len(problems)} problems", seconds=seconds, message=message
        )
    return passed("repository_bytes", expected="sound", actual="sound", seconds=seconds)


def rpo_seconds(plan: Plan, started: datetime) -> float:
    """The drill's start minus the newest commit in the archive; without one, minus the backup's end."""
    newest = plan.window.last.time if plan.window.last else plan.backup.finished
    return round(max((started - newest).total_seconds(), 0.0), 3)


def objective_checks(
    params: Mapping[str, Any], plan: Plan, rto: float, started: datetime, archive: Archive
) -> list[Check]:
    """`rto` and `rpo` against their objectives, where objectives are given."""
    checks: list[Check] = []
    if params["rto_seconds"] is not None:
        wanted = params["rto_seconds"]
        make = passed if rto <= wanted else failed
        message = "" if rto <= wanted else f"the restore took {rto:g} s, the objective is {wanted:g} s"
        checks.append(make("rto", expected=wanted, actual=rto, message=message))
    if params["rpo_seconds"] is not None:
        wanted, actual = params["rpo_seconds"], rpo_seconds(plan, started)
        if actual <= wanted:
            checks.append(passed("rpo", expected=wanted, actual=actual))
        elif _idle(params["source_snapshot"], plan, archive):
            message = "the source has committed nothing since: it is idle"
            checks.append(passed("rpo", expected=wanted, actual=actual, message=message))
        elif _lately_idle(params, plan, archive, wanted):
            message = f"what the archive lacks is at most {params['source_archive_timeout']} s old: the source was idle"
            checks.append(passed("rpo", expected=wanted, actual=actual, message=message))
        else:
            message = f"the newest commit in the archive is {actual:g} s old, the objective is {wanted:g} s"
            checks.append(failed("rpo", expected=wanted, actual=actual, message=message))
    return checks


def _idle(snapshot: str | None, plan: Plan, archive: Archive) -> bool:
    """Whether the source is known to have committed nothing that is not in the archive."""
    if not snapshot:
        return False
    try:
        return nothing_missing(archive, plan.segments, snapshot)
    except OpsError:
        return False


def _lately_idle(params: Mapping[str, Any], plan: Plan, archive: Archive, wanted: float) -> bool:
    """Whether the source has committed only lately, after a time in which it committed nothing."""
    writing = params["source_wal_file"]
    if not writing:
        return False
    most = lacks_at_most(archive, plan.segments, writing, params["source_archive_timeout"])
    return most is not None and most <= wanted


def manifest_lsn(data_dir: Path) -> str:
    """The position of the manifest that the backup carries, or an empty string."""
    try:
        return str(json.loads(read_text(data_dir / "boringdb" / "manifest.json") or "{}").get("lsn") or "")
    except ValueError:
        return ""


def memory_available() -> int:
    """The memory, in bytes, that this host (or the limits it runs under) has left; 0 where it can't be told."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", read_text("/proc/meminfo"))
    limits = [int(found.group(1)) * 1024] if found else []
    limit = read_text("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():
        used = read_text("/sys/fs/cgroup/memory.current").strip()
        limits.append(int(limit) - int(used or 0))
    return min(limits, default=0)
