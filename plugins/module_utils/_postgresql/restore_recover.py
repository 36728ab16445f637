# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to the target, beside production: salvage WAL, lay the backup down, recover, promote, prove."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import Check, failed, passed, skipped
from ansible_collections.boringdb.ops.plugins.module_utils._core.copy_tree import copy_tree
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, remove_tree
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._core.progress import noted, tree_bytes
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn, recovery, restore_proof
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import stamp
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_beside import InPlace, beside
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_journal import Journal, Places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_plan import Plan, parse_time
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_swap import NEW, later_aside
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

#: What is known when the backup is laid down.
_LAID_DOWN = ("restore_seconds", "resumed_bytes")
_LOGGED_TIME = re.compile(r"last completed transaction was at log time (\S+ \S+?) ?(?:UTC|\+00)")


def recovered(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Bring the backup to its target beside production, whose server must be stopped. Leaves the new one running."""
    places = Places(server.data_dir)
    if check_mode:
        return Outcome(True, {"stamp": ""}, "server: old\n", "server: restored\n")
    with host_lock(str(server.data_dir), "restore", params["lock_timeout"]):
        journal = _journal(server, params, places)
        if journal.phase in ("replacing", "replaced", "finished"):
            return Outcome(False, {**journal.facts, "stamp": journal.stamp, "phase": journal.phase})
        if server.running():
            raise OpsError(f"the server on {server.data_dir} is running; stop it first")
        if _recovered_already(journal, places) and journal.more.get("position") != _position(server):
            _old_ran(server, params, places, journal)
        if journal.phase == "recovered":
            new = beside(server, places)
            if not new.running():
                new.start(params["timeout"])
            return Outcome(False, {**journal.facts, "stamp": journal.stamp, "phase": journal.phase})
        return _recover(server, params, places, journal)


def _journal(server: Server, params: Params, places: Places) -> Journal:
    """The journal to go on with; a new one is written before anything is touched."""
    journal = Journal.read(places)
    if journal and journal.unfinished():
        if not journal.same_as(params):
            raise OpsError(f"an unfinished restore to {journal.asked()} is here; finish that one, or undo it")
        return journal
    if journal and journal.same_as(params) and not params["again"]:
        return journal
    if journal:
        journal.put_away(f"before-{journal.stamp}")
    return Journal.begin(places, params)


def _recovered_already(journal: Journal, places: Places) -> bool:
    """Whether the new server has come to its target, also where a run was killed before it could note that."""
    promoted = journal.more.get("configured") and not (places.restoring / "recovery.signal").exists()
    latest = journal.request["target_type"] == "latest"
    return journal.phase == "recovered" or bool(journal.phase == "begun" and promoted and latest)


def _old_ran(server: Server, params: Params, places: Places, journal: Journal) -> None:
    """The old server has run since, as it does where its host was booted, and what it wrote came into the archive."""
    if journal.request["target_type"] == "latest":
        # That is missing from what was recovered. A newer backup may have taken the old one's place meanwhile.
        forget(journal, label=None)
        discard(server, places, journal)
        return
    one = InPlace(server, params, places, journal)
    one.open()
    looked = _nobody_else_writes(one, params, int(server.control()["Bytes per WAL segment"]))
    one.refuse_unless_sound()
    now = set(one.salvaged.inner.archived())
    # Where it is not known how far each had written, only what lies in its own files is its own.
    own = now if looked else {*journal.more.get("held", []), *(now & set(one.local))}
    journal.save(position=_position(server), held=sorted(own))


def forget(journal: Journal, **more: Any) -> None:
    """Note that nothing is there, before it is removed: what is half removed must not be gone on with."""
    journal.save("begun", laying=False, laid_down=False, configured=False, **more)


def discard(server: Server, places: Places, journal: Journal, data: bool = True) -> None:
    """Stop the new server and remove its files, or all but its `data`. Nothing of production's is touched."""
    new = beside(server, places)
    if new.running():
        new.stop(60, "immediate")
    if data:
        # Not by its links: they are made last, and those of a copy lead to production's until then.
        for home in journal.more.get("homes", {}).values():
            remove_tree(Path(home + NEW))
        remove_tree(places.restoring)
    for place in (places.socket_dir, places.wal, places.scratch, new.log_file):
        remove_tree(place)


def _position(server: Server) -> str:
    """Where the old server's last checkpoint is: it moves whenever that server runs."""
    return server.control().get("Latest checkpoint location", "") if server.exists() else ""


def _recover(server: Server, params: Params, places: Places, journal: Journal) -> Outcome:
    one = InPlace(server, params, places, journal)
    begun = time.monotonic()
    # From here on there is something to finish or to undo, be it only that the servers are stopped.
    journal.save("begun", began=journal.more.get("began") or params["began"] or stamp(one.started))
    if not journal.more.get("laid_down"):
        discard(server, places, journal, data=not journal.more.get("laying"))
    try:
        plan = one.plan(places.scratch)
        _nobody_else_writes(one, params, one.archive.size)
        one.refuse_unless_sound()
        homes = {oid: str(place) for oid, place in one.homes(plan.backup).items()}
        later = one.later(homes)
        known = {"label": plan.backup.label, "position": _position(server), "homes": homes}
        journal.save("begun", **known, later=[str(place) for place in later])
        if not journal.more.get("laid_down"):
            later_aside(server.data_dir, later, f".before-{journal.stamp}")
        whole, rest = one.salvaged.salvage(server.data_dir, plan.backup.start_lsn)
        one.facts.update(wal_archived=whole, wal_beside=rest)
        _lay_down(one, plan, journal)
        _start(one, plan, journal)
        _prove(one, plan)
    except (OpsError, OSError) as exc:
        raise one.told(exc) from exc
    finally:
        shutil.rmtree(places.scratch, ignore_errors=True)
    one.facts["recovered_seconds"] = round(time.monotonic() - begun, 3)
    journal.facts = one.result(plan)
    journal.save("recovered", held=sorted(one.salvaged.inner.archived()))
    return Outcome(
        True, {**journal.facts, "stamp": journal.stamp, "phase": journal.phase}, "", f"recovered: {places.restoring}\n"
    )


def _nobody_else_writes(one: InPlace, params: Params, segment_size: int) -> bool:
    """`archive_quiet`: the archive holds nothing that is newer than what the members have. They are stopped.

    Returns whether that could be told.
    """
    positions = params["positions"] or []
    unclear = [position for position in positions if not position.get("lsn") or not position.get("clean")]
    if not positions or unclear:
        why = "the primary is lost, or did not stop in order: how far it had written is not known"
        one.checks.append(skipped("archive_quiet", required=False, message=why))
        return False
    line = max(int(position["timeline"]) for position in positions)
    last = max(lsn.parse(position["lsn"]) for position in positions if int(position["timeline"]) == line)
    newest = lsn.segment_name(line, last, segment_size)
    held = one.salvaged.inner.archived()
    strange = sorted(
        name for name in held
        if int(name[:8], 16) > line or (lsn.SEGMENT.match(name) and int(name[:8], 16) == line and name > newest)
    )  # fmt: skip
    if strange:
        message = (
            f"the archive holds {strange[0]}, which is newer than anything a member has ({newest}): a primary that is "
            "not seen archives here; find and stop it, or name it in restore_lost"
        )
        one.checks.append(failed("archive_quiet", expected=newest, actual=strange[-1], message=message))
    else:
        one.checks.append(passed("archive_quiet", expected=newest, actual=max(held, default="")))
    return True


def _lay_down(one: InPlace, plan: Plan, journal: Journal) -> None:
    if journal.more.get("laid_down"):
        return
    begun = time.monotonic()
    new = one.places.restoring
    places = {oid: Path(home + NEW) for oid, home in journal.more["homes"].items()}
    copied = bool(one.params["delta"] and one.production.exists() and one.salvaged.tool == "pgbackrest")
    # Days may have gone into what a run fetched that was killed, or whose network failed.
    goes_on = journal.more.get("laying") and journal.more.get("copied") == copied and one.repository.goes_on(new)
    one.facts["resumed_bytes"] = tree_bytes(new, *places.values()) if goes_on and not copied else 0
    if not goes_on:
        journal.save(laying=False)
        for place in (*places.values(), new):
            remove_tree(place)
        if copied:
            _copy_old(one.production.data_dir, new, places)
        journal.save(laying=True, copied=copied)
    # A copy that is corrected is as large as the backup from its beginning.
    total = 0 if copied else plan.backup.bytes
    with noted("data", total, lambda: tree_bytes(new, *places.values())):
        one.repository.lay_down(plan.backup, new, one.places.tablespaces, places)
    # The tools sync what they write, or do not; from here on it counts.
    run([one.server.program("initdb"), "--sync-only", "-D", str(new)])
    one.facts["restore_seconds"] = round(time.monotonic() - begun, 3)
    journal.save(laid_down=True, **{name: one.facts[name] for name in _LAID_DOWN})


def _copy_old(old: Path, new: Path, places: Mapping[str, Path]) -> None:
    """A copy of the old data for the tool to correct: shared blocks where the filesystem can, and read locally."""
    copy_tree(old, new)
    for name in ("postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal"):
        (new / name).unlink(missing_ok=True)
    for link in (new / "pg_tblspc").iterdir():
        place = places.get(link.name)
        if place and link.resolve().is_dir():
            copy_tree(link.resolve(), place)
        link.unlink()
        if place:
            place.mkdir(mode=0o700, exist_ok=True)
            link.symlink_to(place)


def _start(one: InPlace, plan: Plan, journal: Journal) -> None:
    begun = time.monotonic()
    control = one.server.control()
    one.memory_suffices(control)
    if not journal.more.get("configured"):
        command = one.repository.restore_command(one.server.data_dir)
        sizes = recovery.required_sizes(control)
        recovery.configure(one.server, plan.target, command, sizes, one.params["settings"], recovery.IN_PLACE)
        journal.save(configured=True)
    try:
        with noted("recovery"):
            if one.server.running():
                one.server.await_ready(one.params["timeout"])
            else:
                one.server.start(one.params["timeout"])
            one.await_promotion()
    except OpsError as exc:
        aim = " ".join([plan.target.type, plan.target.value]).strip()
        raise one.failing("target_reached", aim, f"recovery did not reach its target, {aim}: {exc}") from exc
    one.facts["recovery_seconds"] = round(time.monotonic() - begun, 3)
    for name in _LAID_DOWN:
        one.facts.setdefault(name, journal.more.get(name, 0))


def _prove(one: InPlace, plan: Plan) -> None:
    with one.server.connect() as connection:
        reached = _reached(one, connection)
        one.facts["reached"] = reached
        one.checks += restore_proof.target_checks(connection, plan, reached, one.server.last_words)
        one.checks.append(restore_proof.isolation_check(connection, recovery.IN_PLACE))
    one.facts["rpo_seconds"] = restore_proof.rpo_seconds(plan, one.started)
    one.facts["wal_changes"] = one.wal_changes(plan, reached["lsn"])
    one.checks.append(_branched(one, reached))
    one.refuse_unless_sound()


def _reached(one: InPlace, connection: Any) -> dict[str, Any]:
    """Where recovery ended. A server that was started again since does not know; its files do."""
    found = restore_proof.reached(connection)
    history = read_text(one.server.data_dir / "pg_wal" / f"{found['timeline']:08X}.history")
    rows = [line.split("\t") for line in history.splitlines() if line.strip() and not line.startswith("#")]
    if found["lsn"] is None and rows:
        found["lsn"] = rows[-1][1].strip()
        told = _LOGGED_TIME.findall(read_text(one.server.log_file))
        found["time"] = stamp(parse_time(f"{told[-1]}+00")) if told else None
    return found


def _branched(one: InPlace, reached: Mapping[str, Any]) -> Check:
    """`new_timeline`: nothing in the archive has the number that the new timeline got."""
    line = int(reached["timeline"])
    taken = [name for name in one.salvaged.inner.archived() if int(name[:8], 16) >= line]
    if taken:
        message = f"timeline {line} is in the archive already ({taken[0]}): another server was promoted meanwhile"
        return failed("new_timeline", expected=line, actual=taken[0], message=message)
    return passed("new_timeline", expected=line, actual=line)
