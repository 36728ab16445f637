# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a restore in production's place: the primary archives its new timeline, and the replicas stream."""

from __future__ import annotations

import getpass
import struct
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import Check, failed, passed
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.host_files import wanting
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.manifest_files import CONFIG, ELSEWHERE
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import open_repository, stamp
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_exchange import SYNCHRONOUS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_journal import Journal, Places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_plan import parse_time
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_swap import auto_setting
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

#: ReplicationSlotOnDisk: magic, checksum, version, length; then the name and the database's OID, 0 for a physical slot.
_SLOT = struct.Struct("=4I64sI")


def old_slots(data_dir: Path) -> dict[str, bool]:
    """The replication slots of a data directory without its server: whether each is a logical one."""
    found = {}
    for state in sorted((data_dir / "pg_replslot").glob("*/state")):
        raw = state.read_bytes()[: _SLOT.size]
        if len(raw) == _SLOT.size:
            *_head, name, database = _SLOT.unpack(raw)
            found[name.split(b"\0")[0].decode()] = database != 0
    return found


def _journal(server: Server, params: Params, wanted: tuple[str, ...]) -> Journal:
    journal = Journal.read(Places(server.data_dir))
    if journal is None or journal.phase not in wanted or not journal.same_as(params):
        raise OpsError(f"{server.data_dir} was not restored to this target")
    return journal


def opened(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Prove that the started server is the restored one and archives its new timeline; physical slots come back."""
    if check_mode:
        return Outcome(True, {"checks": []})
    with host_lock(str(server.data_dir), "restore", params["lock_timeout"]):
        journal = _journal(server, params, ("replaced", "finished"))
        if "accepted" not in journal.more:
            server.await_ready(params["timeout"])
            journal.save(accepted=stamp(datetime.now(timezone.utc)))
        checks: list[Check] = []
        with server.connect() as connection:
            checks.append(_right_line(connection, journal))
            made, lost = _slots(connection, journal)
            checks.append(_archives(server, connection, params, journal))
        checks += _objective(params, journal)
        lacking = wanting(server.data_dir, getpass.getuser())
        journal.save(opened=[check.to_dict() for check in checks], slots_lost=lost, host_files=lacking)
    facts = {**facts_of(journal), "slots_made": made}
    warnings = [f"logical slot {name} is gone: its consumer has to begin anew" for name in lost]
    if lacking:
        place = server.data_dir / CONFIG / ELSEWHERE
        warnings.append(f"of this host's files the backup holds others, in {place}: {'; '.join(lacking)}")
    return Outcome(bool(made), facts, warnings=warnings)


def facts_of(journal: Journal) -> dict[str, Any]:
    """Everything that a restore has found out, for its record."""
    checks = [*journal.facts.get("checks", []), *(journal.more.get("verification") or [])]
    checks += [*journal.more.get("opened", []), *journal.more.get("closed", [])]
    more = {name: journal.more.get(name) for name in ("began", "accepted", "came_back", "slots_lost", "host_files")}
    facts = {
        **journal.facts, **more, "stamp": journal.stamp, "phase": journal.phase, "aside": str(journal.aside),
        "had_old_data": journal.aside.exists(), "checks": checks,
    }  # fmt: skip
    if "accepted" in journal.more:
        facts["rto_seconds"] = _seconds(journal)
    return facts


def _seconds(journal: Journal) -> float:
    accepted, began = parse_time(journal.more["accepted"]), parse_time(journal.more["began"])
    return round((accepted - began).total_seconds(), 3)


def _objective(params: Params, journal: Journal) -> list[Check]:
    wanted, took = params["rto_seconds"], _seconds(journal)
    if wanted is None:
        return []
    if took <= wanted:
        return [passed("rto", expected=wanted, actual=took)]
    message = f"the restore took {took:g} s, the objective is {wanted:g} s"
    return [failed("rto", required=False, expected=wanted, actual=took, message=message)]


def _right_line(connection: Any, journal: Journal) -> Check:
    standby, line = connection.execute(
        "SELECT pg_is_in_recovery(), (SELECT timeline_id FROM pg_control_checkpoint())"
    ).fetchone()
    wanted = int(journal.facts["reached"]["timeline"])
    if not standby and line == wanted:
        return passed("timeline", expected=wanted, actual=line)
    message = f"the server is {'a replica' if standby else 'a primary'} on timeline {line}"
    return failed("timeline", expected=wanted, actual=line, message=message)


def _slots(connection: Any, journal: Journal) -> tuple[list[str], list[str]]:
    """Make the physical slots of the old server again; a backup carries none. Returns those made, and those lost."""
    if journal.phase == "finished":
        # What somebody has dropped since would keep WAL for nobody.
        return [], list(journal.more.get("slots_lost") or [])
    there = {row[0] for row in connection.execute("SELECT slot_name FROM pg_replication_slots").fetchall()}
    old = old_slots(journal.aside)
    made = [name for name, logical in old.items() if not logical and name not in there]
    for name in made:
        # Reserved at once: what it stands for must not miss anything from here on.
        connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", (name,))
    return made, [name for name, logical in old.items() if logical and name not in there]


def _archives(server: Server, connection: Any, params: Params, journal: Journal) -> Check:
    begun = time.monotonic()
    line = int(journal.facts["reached"]["timeline"])
    connection.execute("SELECT pg_create_restore_point('boringdb_restored')")
    segment = str(connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()[0])
    repository = open_repository(params, server.program)
    wanted = {f"{line:08X}.history", segment}
    done = await_condition(lambda: wanted <= set(repository.archived()), params["archive_timeout"], every=0.2)
    seconds = time.monotonic() - begun
    if done:
        return passed("archiving", expected=segment, actual=segment, seconds=seconds)
    message = f"{', '.join(sorted(wanted))} did not get into the archive within {params['archive_timeout']} s"
    return failed("archiving", expected=segment, actual="missing", seconds=seconds, message=message)


def finished(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Bring the synchronous names back, look for every replica, and close the restore."""
    if check_mode:
        return Outcome(False, {"checks": []})
    with host_lock(str(server.data_dir), "restore", params["lock_timeout"]):
        journal = _journal(server, params, ("replaced", "finished"))
        before = journal.phase
        was = journal.more.get("synchronous")
        with server.connect() as connection:
            checks = [_replicas(connection, params)]
            if journal.phase == "replaced":
                auto_setting(server.data_dir, SYNCHRONOUS, was)
                connection.execute("SELECT pg_reload_conf()")
            checks += _synchronous(connection, params)
        journal.save(closed=[check.to_dict() for check in checks])
        if all(check.status == "passed" for check in checks if check.required):
            journal.save("finished")
    return Outcome(before != journal.phase, facts_of(journal))


def _streaming(connection: Any) -> Mapping[str, str]:
    query = "SELECT application_name, sync_state FROM pg_stat_replication WHERE state = 'streaming'"
    return dict(connection.execute(query).fetchall())


def _replicas(connection: Any, params: Params) -> Check:
    wanted = set(params["replicas"] or [])
    await_condition(lambda: wanted <= set(_streaming(connection)), params["stream_timeout"], every=0.2)
    there = set(_streaming(connection))
    missing = sorted(wanted - there)
    expected, actual = ", ".join(sorted(wanted)) or "none", ", ".join(sorted(there & wanted)) or "none"
    if missing:
        message = f"{', '.join(missing)} does not stream from the restored primary"
        return failed("replicas", expected=expected, actual=actual, message=message)
    return passed("replicas", expected=expected, actual=actual)


def _synchronous(connection: Any, params: Params) -> list[Check]:
    """Whether the synchronous names are met again, where there are any."""
    query = "SELECT current_setting('synchronous_standby_names')"

    def met() -> bool:
        # A reload is taken up between two statements.
        named = connection.execute(query).fetchone()[0]
        return not named or bool({"sync", "quorum"} & set(_streaming(connection).values()))

    in_time = await_condition(met, params["stream_timeout"], every=0.2)
    names = str(connection.execute(query).fetchone()[0])
    if not names:
        return []
    if in_time:
        return [passed("synchronous", expected=names, actual=names)]
    message = f"no synchronous replica streams: commits wait ({SYNCHRONOUS} = {names})"
    return [failed("synchronous", expected=names, actual="none", message=message)]
